# SPDX-License-Identifier: Apache-2.0
"""Connection URLs and the options they may carry.

Invariant: a password is in no ``repr``, ``str`` or error made here.
"""

import typing
from urllib import parse

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs import keyspace

SCHEME = "kvs"
DEFAULT_DRIVER = "redis"
DEFAULT_PORTS = {"sentinel": 26379}
DEFAULT_PORT = 6379
_EMBEDDED = "memory"
_OPTIONS = {opt.dest: opt for opt in conf.OPTS}
#: Query names that belong to a driver, not to [nova_kvs].
_DRIVER_QUERY = {"node": ("cluster", "sentinel"), "service": ("sentinel",)}


class Settings:
    """The options of [nova_kvs] as they apply to one URL, as attributes."""

    def __init__(self, values):
        self.__dict__.update(values)

    def __repr__(self):
        return "Settings(%s)" % ", ".join(
            "%s=%r" % (name, "***" if _OPTIONS[name].secret and value
                       else value)
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
        values = {name: getattr(group, name) for name in _OPTIONS}
        values.update(
            (name, value) for name, value in self.query.items()
            if name in _OPTIONS)
        if self.username:
            values["user"] = self.username
        if self.password is not None:
            values["password"] = self.password
        for name, value in overrides.items():
            if name not in _OPTIONS:
                raise exceptions.ConfigurationError(
                    "nova-kvs has no such option", option=name)
            values[name] = value
        if values["hint_grace"] <= values["transaction_lifetime"]:
            raise exceptions.ConfigurationError(
                "hint_grace must be longer than transaction_lifetime, or "
                "indexes lose entries of transactions that are going on",
                hint_grace=values["hint_grace"],
                transaction_lifetime=values["transaction_lifetime"])
        return Settings(values)


def parse_url(url):
    """Return a connection URL taken apart.

    :param url: str, SQLAlchemy URL or StoreURL.
    :returns: StoreURL.
    :raises nova_kvs.exceptions.ConfigurationError: naming what is wrong in
        it and what to write instead.
    """
    if isinstance(url, StoreURL):
        return url
    if hasattr(url, "render_as_string"):
        url = url.render_as_string(hide_password=False)
    try:
        parts = parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        # What urllib says quotes the netloc, and so the password.
        raise exceptions.ConfigurationError(
            "the host or port in the connection URL is not valid: write "
            "host:port with a port of 1 to 65535") from None
    scheme, _, driver = parts.scheme.partition("+")
    driver = driver or DEFAULT_DRIVER
    if scheme != SCHEME:
        raise exceptions.ConfigurationError(
            "the connection URL is not one of nova-kvs: it must start with "
            "kvs+cluster://, kvs+redis://, kvs+sentinel:// or kvs+memory://",
            scheme=parts.scheme)
    if parts.fragment:
        raise exceptions.ConfigurationError(
            "the connection URL has a '#': write it as %23")
    if "@" in parts.path:
        # It may be the rest of a password.
        raise exceptions.ConfigurationError(
            "the connection URL has a '@' behind a '/': write '/' in a user "
            "or password as %2F")
    database = keyspace.check_database_name(
        parse.unquote(parts.path[1:]))
    nodes, query = _parse_query(driver, parts.query)
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
        nodes.insert(0, (host, _check_port(port, driver)))
    return StoreURL(
        driver,
        parse.unquote(parts.username) if parts.username else None,
        parse.unquote(parts.password) if parts.password is not None else None,
        tuple(dict.fromkeys(nodes)), database, query)


def _parse_query(driver, text):
    nodes = []
    query = {}
    for name, value in parse.parse_qsl(text, keep_blank_values=True):
        drivers = _DRIVER_QUERY.get(name)
        if drivers is not None:
            if driver not in drivers:
                raise exceptions.ConfigurationError(
                    "the connection URL has an option of another driver",
                    option=name, driver=driver, drivers=", ".join(drivers))
            if name == "node":
                nodes.append(_parse_node(value, driver))
            else:
                query[name] = value
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
        try:
            query[name] = _OPTIONS[name].type(value)
        except ValueError as exc:
            raise exceptions.ConfigurationError(
                "an option in the connection URL has a value that is not "
                "valid", option=name, value=value, cause=exc) from None
    return nodes, query


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
    if port is None:
        return DEFAULT_PORTS.get(driver, DEFAULT_PORT)
    if port == 0:
        raise exceptions.ConfigurationError(
            "the port in the connection URL is not valid: write a port of "
            "1 to 65535", port=port)
    return port
