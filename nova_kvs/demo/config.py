# SPDX-License-Identifier: Apache-2.0
"""Configuration files of a cloud on loopback.

Plain nova.conf and placement.conf, so that services in processes of their
own can run from them as well as the demo.
"""

import configparser
import dataclasses
import importlib.metadata
import io
import os
import typing

import sqlalchemy

from nova_kvs import exceptions

#: Placement's own stand-in for Keystone takes this token as the
#: administrator's.
PLACEMENT_TOKEN = "admin"


class Databases(typing.NamedTuple):
    """Connection URLs of the four databases of a cloud."""

    api: str
    cell0: str
    cell1: str
    placement: str

    @classmethod
    def from_url(cls, url):
        """Return URLs of databases beside the one that a URL names.

        :param url: ``kvs+redis://host/x`` gives the databases ``x_api``,
            ``x_cell0``, ``x_cell1`` and ``x_placement``; without a
            database's name, ``demo_api`` and so on.
        """
        url = sqlalchemy.make_url(url)
        name = url.database or "demo"
        return cls._make(
            url.set(database="%s_%s" % (name, role)).render_as_string(
                hide_password=False)
            for role in cls._fields)


@dataclasses.dataclass
class Endpoints:
    """The addresses of the services of a cloud."""

    transport_url: str
    placement_url: str
    #: The stand-in for Glance and Neutron.
    image_url: str
    network_url: str


def _render(sections):
    """Return the text of an oslo.config file.

    :param sections: dict of section name to dict of option to value.
    """
    lines = []
    for section, options in sections.items():
        lines.append("[%s]" % section)
        # A dollar sign would be taken for a reference to another option.
        lines.extend("%s = %s" % (name, str(value).replace("$", "$$"))
                     for name, value in options.items())
        lines.append("")
    return "\n".join(lines)


def _write(path, text):
    # URLs hold passwords.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as stream:
        stream.write(text)
    return path


def nova_sections(endpoints, databases, host, state_path):
    """Return the options of a Nova service.

    :param databases: Databases, or None for a service that has none
        (nova-compute).
    :param host: the name of the service's host.
    :param state_path: directory for the service's own files.
    :returns: dict of section name to dict of option to value.
    """
    sections = {
        "DEFAULT": {
            "host": host,
            "my_ip": "127.0.0.1",
            "state_path": state_path,
            "transport_url": endpoints.transport_url,
            "compute_driver": "fake.FakeDriverWithoutFakeNodes",
            "use_stderr": False,
            # Longest wait for running tasks when a service stops, seconds.
            "manager_shutdown_timeout": 5,
            "graceful_shutdown_timeout": 20,
            # A new service is seen as up at once, so a short interval
            # matters only when one dies.
            "report_interval": 10,
        },
        "oslo_concurrency": {"lock_path": os.path.join(state_path, "lock")},
        "oslo_messaging_notifications": {"driver": "noop"},
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1},
        "vnc": {"enabled": False},
        # The default is 10 servers for a project.
        "quota": {"instances": -1, "cores": -1, "ram": -1},
        "glance": {"endpoint_override": endpoints.image_url},
        "neutron": {
            "auth_type": "admin_token",
            "endpoint": endpoints.network_url,
            "endpoint_override": endpoints.network_url,
            "token": "unused",
        },
        # nova-status insists on it; nobody looks at the token.
        "service_user": {
            "send_service_user_token": True,
            "auth_type": "admin_token",
            "endpoint": endpoints.image_url,
            "token": "unused",
        },
        "placement": {
            "auth_type": "admin_token",
            "endpoint": endpoints.placement_url,
            "endpoint_override": endpoints.placement_url,
            "token": PLACEMENT_TOKEN,
        },
    }
    if databases is not None:
        sections["api_database"] = {"connection": databases.api}
        sections["database"] = {"connection": databases.cell1}
    return sections


def placement_sections(databases, state_path):
    """Return the options of the Placement API."""
    return {
        "DEFAULT": {"state_path": state_path, "use_stderr": False},
        "api": {"auth_strategy": "noauth2"},
        "placement_database": {"connection": databases.placement},
    }


def write_conf(path, sections):
    """Write a configuration file that only its owner can read.

    :returns: the path.
    """
    return _write(path, _render(sections))


def _nova_paste_file():
    """Return the path of the api-paste.ini that Nova was installed with.

    :raises nova_kvs.exceptions.ConfigurationError: if there is none.
    """
    candidates = [
        str(path.locate())
        for path in importlib.metadata.files("nova") or ()
        if path.match("etc/nova/api-paste.ini")]
    candidates.append("/etc/nova/api-paste.ini")
    for path in candidates:
        if os.path.exists(path):
            return path
    raise exceptions.ConfigurationError(
        "Nova is installed without its api-paste.ini", searched=candidates)


def write_api_paste(path, token):
    """Write Nova's own api-paste.ini, with another identity filter.

    :param token: the token that the filter accepts; None leaves Keystone's
        middleware in its place.
    :returns: the path.
    :raises nova_kvs.exceptions.ConfigurationError: if Nova's file is not
        found.
    """
    parser = configparser.RawConfigParser()
    parser.optionxform = str
    parser.read(_nova_paste_file())
    if token is not None:
        parser["filter:authtoken"] = {
            "paste.filter_factory": "nova_kvs.demo.identity:filter_factory",
            "token": token,
        }
    text = io.StringIO()
    parser.write(text)
    return _write(path, text.getvalue())
