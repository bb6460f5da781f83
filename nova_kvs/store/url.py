# SPDX-License-Identifier: Apache-2.0
"""Connection URLs and the options they may carry.

Invariant: a password is in no ``repr``, ``str`` or error made here.
"""

import functools
import logging
import re
import typing
from urllib import parse

from oslo_config import cfg
from sqlalchemy.engine import url as sqlalchemy_url
from sqlalchemy import exc

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs import keyspace

SCHEME = "kvs"
DEFAULT_DRIVER = "redis"
DEFAULT_PORTS = {"etcd": 2379, "sentinel": 26379}
DEFAULT_PORT = 6379
LOG = logging.getLogger(__name__)

_EMBEDDED = "memory"
_OPTIONS = {opt.dest: opt for opt in conf.OPTS}
_SECRET = frozenset(opt.dest for opt in conf.OPTS if opt.secret)
#: Query names that belong to a driver, not to [nova_kvs].
_DRIVER_QUERY = {
    "node": ("cluster", "etcd", "sentinel"), "service": ("sentinel",)}
#: Highest value of an option that is a number; a float has one of seconds.
_HIGHEST = {float: 1e6, int: 2 ** 31 - 1}
_WRONG_HOST = ("the host or port in the connection URL is not valid: write "
               "host:port with a port of 1 to 65535")
#: Behind what is wrong with a URL that has more than one '@'.
_SPOILED = (
    ". Write '@' in a password as %40, '/' as %2F, ':' as %3A and '?' as "
    "%3F. nova-manage's map_cell0 and simple_cell_setup undo this where they "
    "derive cell0's URL from [database] connection: give map_cell0 the URL "
    "with --database_connection, or correct it with update_cell")
#: Behind what is wrong with a URL that Nova has made of a cell mapping's
#: template, where [database] connection lacks a part or has no room for it.
_FILLED_IN_PORT = (
    ". Nova fills None into {port} of a cell mapping's template if [database] "
    "connection names no port: write it there")
_FILLED_IN_ADDRESS = (
    ". An IPv6 address stands in brackets; in a cell mapping's template, "
    "which Nova fills in without them, write [{hostname}]")
_FILLED_IN_LOGIN = (
    "the connection URL has the user and the password 'None': Nova fills "
    "that into {username} and {password} of a cell mapping's template if "
    "[database] connection has no login. Leave them out of the template")


class Settings:
    """The options of [nova_kvs] as they apply to one URL, as attributes."""

    def __init__(self, values):
        self.__dict__.update(values)

    def __repr__(self):
        return "Settings(%s)" % ", ".join(
            "%s=%r" % (name, "***" if value and name in _SECRET else value)
            for name, value in sorted(self.__dict__.items()))

    def key(self):
        """Return what tells these settings from others, hashable."""
        return tuple(sorted(self.__dict__.items()))


class StoreURL(typing.NamedTuple):
    """A taken-apart connection URL."""

    driver: str
    username: str | None
    password: str | None
    #: ``(host, port)`` each, at least one but for ``memory``.
    nodes: tuple
    database: str
    #: Option name -> value, converted to the option's type.
    query: dict

    def __repr__(self):
        return "StoreURL(%s)" % str(self)

    def __str__(self):
        """Return the URL without its password."""
        user = parse.quote(self.username or "", safe="")
        if self.password is not None:
            user += ":***"
        hosts = [("[%s]:%d" if ":" in host else "%s:%d") % (host, port)
                 for host, port in self.nodes]
        query = [("node", host) for host in hosts[1:]] + sorted(
            self.query.items())
        return "%s+%s://%s%s/%s%s" % (
            SCHEME, self.driver, user + "@" if user else "",
            hosts[0] if hosts else "", self.database,
            "?" + parse.urlencode(query) if query else "")

    def settings(self, **overrides):
        """Return the options that apply: overrides, query, [nova_kvs].

        :param overrides: option values that win over all else.
        :raises nova_kvs.exceptions.ConfigurationError: for an override that
            is no option, and for options that contradict each other.
        """
        group = conf.CONF[conf.GROUP]
        values = {}
        for layer in (
                {name: _of_file(group, name) for name in _OPTIONS},
                {name: value for name, value in self.query.items()
                 if name in _OPTIONS},
                overrides):
            values.update(layer)
            if layer.get("read_from_replicas"):
                values["read_from"] = "replica"
        if self.username and "username" not in overrides:
            values["username"] = self.username
        if self.password is not None and "password" not in overrides:
            values["password"] = self.password
        for name in overrides:
            if name not in _OPTIONS:
                raise exceptions.ConfigurationError(
                    "nova-kvs has no such option", option=name)
        for name, value in values.items():
            if value is None and _OPTIONS[name].default is not None:
                raise exceptions.ConfigurationError(
                    "an option has no value", option=name)
            highest = _HIGHEST.get(type(value))
            # Not so either if it is no number at all ("nan").
            if highest is not None and not value <= highest:
                raise exceptions.ConfigurationError(
                    "an option's value is too high", option=name, value=value,
                    highest=highest)
        del values["read_from_replicas"]
        lifetime = values["transaction_lifetime"]
        grace = values.pop("hint_grace")
        wait = values["request_timeout"]
        values["failover_timeout"] = patience = max(
            wait, min(2 * wait, conf.LONGEST_WAIT_S))
        if grace is None:
            # Both the index entries and the commit behind them may be
            # repeated for failover_timeout.
            grace = max(6 * lifetime, lifetime + 3 * patience)
        elif grace <= lifetime:
            raise exceptions.ConfigurationError(
                "hint_grace must be longer than transaction_lifetime, or "
                "indexes lose entries of transactions that are going on",
                hint_grace=grace, transaction_lifetime=lifetime)
        values["index_grace"] = grace
        return Settings(values)


def _of_file(group, name):
    """Return an option of the configuration file.

    :raises nova_kvs.exceptions.ConfigurationError: naming it, if oslo.config
        does not take its value.
    """
    try:
        return getattr(group, name)
    except cfg.Error as error:
        # It quotes what is behind a '$'.
        cause = {} if name in _SECRET else {"cause": error}
        raise exceptions.ConfigurationError(
            "an option of [nova_kvs] has a value that is not valid; a '$' is "
            "written as '$$'", option=name, **cause) from None


def parse_url(url):
    """Return a connection URL taken apart.

    SQLAlchemy's parser is the only one, for the services hand over what it
    has made of a URL. It takes any character in a password but ``@``.

    :param url: str, SQLAlchemy URL or StoreURL.
    :returns: StoreURL.
    :raises nova_kvs.exceptions.ConfigurationError: naming what is wrong in
        it and what to write instead.
    """
    if isinstance(url, StoreURL):
        return url
    if not isinstance(url, str):
        return _parse(url)
    scheme, _, rest = url.partition("://")
    _check_scheme(scheme)
    if not _is_text(url):
        raise exceptions.ConfigurationError(
            "the connection URL has characters that are not in UTF-8")
    try:
        parsed = sqlalchemy_url.make_url(url)
        behind = rest if parsed.username is None else rest.partition("@")[2]
        # SQLAlchemy leaves these out.
        blank = [name for name, value in parse.parse_qsl(
            behind.partition("?")[2], keep_blank_values=True) if not value]
        if blank:
            parsed = parsed.update_query_dict(dict.fromkeys(blank, ""), True)
        return _parse(parsed)
    except (exc.ArgumentError, ValueError):
        # What SQLAlchemy says quotes the URL, and so the password.
        error = exceptions.ConfigurationError(_WRONG_HOST)
    except exceptions.ConfigurationError as caught:
        error = caught
    raise exceptions.ConfigurationError(
        error.args[0] + _advice(rest), **error.details)


def _advice(text):
    """Return what to say of how Nova has spoiled a URL, if it has.

    :param text: the URL behind its scheme.
    """
    if text.count("@") > 1:
        return _SPOILED
    server = text.rpartition("@")[2].partition("/")[0]
    if server.endswith(":None"):
        return _FILLED_IN_PORT
    if server.count(":") > 1 and "[" not in server:
        return _FILLED_IN_ADDRESS
    return ""


def _is_text(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_scheme(scheme):
    if scheme == SCHEME + "+unix":
        raise exceptions.ConfigurationError(
            "nova-kvs reaches servers by TCP only, also on its own host, "
            "since clusters and failovers are about addresses: write "
            "kvs+redis://127.0.0.1:6379/name")
    if scheme.partition("+")[0] != SCHEME:
        raise exceptions.ConfigurationError(
            "the connection URL is not one of nova-kvs: it must start with "
            "kvs+cluster://, kvs+redis://, kvs+sentinel://, kvs+etcd:// or "
            "kvs+memory://",
            # Without "://" it is the whole text.
            **{"scheme": scheme} if re.fullmatch(r"[\w+]*", scheme) else {})


def _parse(url):
    """Return what SQLAlchemy's URL says as StoreURL."""
    _check_scheme(url.drivername)
    driver = url.drivername.partition("+")[2] or DEFAULT_DRIVER
    password, host, port, name = _behind_password(url)
    if url.username == password == "None":
        raise exceptions.ConfigurationError(_FILLED_IN_LOGIN)
    if "#" in name:
        raise exceptions.ConfigurationError(
            "the connection URL has a '#': write it as %23")
    database = keyspace.check_database_name(parse.unquote(name))
    nodes, query = _parse_query(driver, url.query)
    if driver == _EMBEDDED:
        if host or nodes:
            raise exceptions.ConfigurationError(
                "the embedded store has no servers: write "
                "kvs+memory:///name", driver=driver)
    elif not host:
        raise exceptions.ConfigurationError(
            "the connection URL names no server: write "
            "kvs+%s://host:port/%s" % (driver, database))
    else:
        nodes.insert(0, (host.lower(), _check_port(port, driver)))
    return StoreURL(driver, url.username or None, password,
                    tuple(dict.fromkeys(nodes)), database, query)


def _behind_password(url):
    """Return password, host, port and database's name of SQLAlchemy's URL.

    It ends a password at the first ``@``. No host and no name of a database
    has one, so what is before the last ``@`` belongs to the password: Nova
    writes such a URL for cell0.
    """
    host, port, name = url.host or "", url.port, url.database or ""
    password = url.password
    if "@" not in host + name:
        return password, host, port, name
    if password is None:
        raise exceptions.ConfigurationError(
            "the connection URL has a '@' that ends no user or password: "
            "write '/' in a user or password as %2F and '@' as %40")
    if "@" not in name:
        more, _, host = host.rpartition("@")
        return "%s@%s" % (password, more), host, port, name
    more, _, rest = name.rpartition("@")
    try:
        behind = sqlalchemy_url.make_url("%s://%s" % (SCHEME, rest))
    except (exc.ArgumentError, ValueError):
        behind = None
    # A number behind a ':' would not be as it was written.
    if behind is None or port is not None:
        raise exceptions.ConfigurationError(_WRONG_HOST + _SPOILED)
    return ("%s@%s/%s" % (password, host, more), behind.host or "",
            behind.port, behind.database or "")


def _parse_query(driver, found):
    """Return nodes and options of a query as SQLAlchemy gives it."""
    nodes = []
    query = {}
    for name, values in found.items():
        values = (values,) if isinstance(values, str) else values
        drivers = _DRIVER_QUERY.get(name)
        if drivers is not None:
            if driver not in drivers:
                raise exceptions.ConfigurationError(
                    "the connection URL has an option of another driver",
                    option=name, driver=driver, drivers=", ".join(drivers))
            if name == "node":
                nodes += [_parse_node(value, driver) for value in values]
            else:
                query[name] = values[-1]
            continue
        if "@" in name:
            raise exceptions.ConfigurationError(
                "the connection URL has a '@' behind a '?': write '?' in a "
                "user or password as %3F")
        if name not in _OPTIONS or name in conf.NOT_IN_QUERY:
            raise exceptions.ConfigurationError(
                "the connection URL has an option that does not exist there",
                option=name, known=", ".join(sorted(
                    set(_OPTIONS) - conf.NOT_IN_QUERY | set(
                        known for known, drivers in _DRIVER_QUERY.items()
                        if driver in drivers))))
        _warn_of(name)
        try:
            query[name] = _OPTIONS[name].type(values[-1])
        except ValueError as error:
            raise exceptions.ConfigurationError(
                "an option in the connection URL has a value that is not "
                "valid", option=name, value=values[-1], cause=error) from None
    return nodes, query


@functools.cache
def _warn_of(name):
    """Log, once, that an option of a URL's query is about to go."""
    option = _OPTIONS[name]
    if option.deprecated_for_removal:
        LOG.warning("the option %s of a connection URL is deprecated: %s",
                    name, option.deprecated_reason)


def _parse_node(text, driver):
    try:
        parts = parse.urlsplit("//" + text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or "@" in text or parts.path or parts.query:
        raise exceptions.ConfigurationError(
            "a node in the connection URL is not valid: write "
            "node=host:port", node="***" if "@" in text else text)
    return host, _check_port(port, driver)


def _check_port(port, driver):
    if port in (None, ""):
        return DEFAULT_PORTS.get(driver, DEFAULT_PORT)
    if not 0 < port < 65536:
        raise exceptions.ConfigurationError(
            "the port in the connection URL is not valid: write a port of "
            "1 to 65535", port=port)
    return port
