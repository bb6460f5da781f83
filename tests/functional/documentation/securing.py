# SPDX-License-Identifier: Apache-2.0
"""Checks of what the page about security tells operators to set up."""

import configparser

from tests import fixtures
from tests.functional.cmd import clouds
from tests.functional.store import certificates


def check_own_user(lab, literals):
    """The user works on its database and is refused by another.

    The servers' own user, the default one, works on any.
    """
    with fixtures.RedisServerFixture() as server:
        command, = [line for block in literals for line in block.commands()]
        address = "%s:%d" % server.nodes[0]
        assert lab.run("redis-cli -h %s -p %d" % server.nodes[0],
                       answers=command) == "OK\n"
        url = "kvs+redis://placement:secret@%s/%%s" % address
        clouds.sync("placement", url % "placement", str(lab.home("own")))
        lab.run("nova-kvs check '%s'" % url % "placement", statuses=(0, 1))
        lab.run("nova-kvs fsck '%s'" % url % "placement")
        # A name that only begins alike is another database, too.
        for name in ("nova_api", "placement2"):
            lab.run("! nova-kvs stats '%s' 2> refused" % url % name,
                    home="own")
            assert "the Redis user lacks a permission" in (
                lab.home("own") / "refused").read_text()


def check_tls(lab, literals):
    """A server and nova.conf with these settings find each other."""
    redis_conf, nova_conf = literals
    directory = lab.home("tls")
    files = certificates.make(str(directory))
    places = {"authority.crt": files.ca, "server.crt": files.cert,
              "server.key": files.key, "client.crt": files.cert,
              "client.key": files.key}

    def filled_in(text):
        for name, path in places.items():
            for place in ("/etc/redis/", "/etc/nova/"):
                text = text.replace(place + name, path)
        assert "/etc/" not in text
        return text

    settings = dict(line.split(" ", 1)
                    for line in filled_in(redis_conf.text).splitlines())
    # The fixture chooses the port.
    assert settings.pop("port") == "0"
    assert settings.pop("tls-port") == "7000"
    with fixtures.RedisClusterFixture(
            replicas=0, tls=files, options=settings) as servers:
        url = servers.url("nova_api")
        parser = configparser.ConfigParser()
        parser.read_string(filled_in(nova_conf.text))
        clouds.sync("api", servers.url("nova_api", **parser["nova_kvs"]),
                    str(directory))
        conf = "%s\n[api_database]\nconnection = %s\n" % (
            filled_in(nova_conf.text), url)
        (directory / ".nova/nova.conf").write_text(conf)
        output = lab.run("nova-kvs-status upgrade check", home="tls",
                         statuses=(0, 1))
        assert "Upgrade Check Results" in output
        assert "Failure" not in output, output
        # Who speaks no TLS is told so.
        lab.run("! nova-kvs stats '%s?tls=false' 2> refused" % (
            url.partition("?")[0]), home="tls")
        refused = (directory / "refused").read_text()
        assert "TLS" in refused, refused
        options = "--tls --cacert %s --cert %s --key %s" % (
            files.ca, files.cert, files.key)
        for node in servers.nodes:
            assert lab.run("redis-cli %s -h %s -p %d PING" % (
                options, *node)) == "PONG\n"
