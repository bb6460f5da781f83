# SPDX-License-Identifier: Apache-2.0
"""Keystone and Glance of the demo, without their packages."""

import importlib.metadata
import os

import pytest
import sqlalchemy

from nova_kvs.cmd import demo
from nova_kvs.cmd import main
from nova_kvs.demo import config
from nova_kvs.demo import services
from nova_kvs import exceptions

URL = "kvs+redis://user:secret@127.0.0.1:1/x"


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "_free_port", lambda: 5000)
    found = services.Services(URL, str(tmp_path), str(tmp_path / "log"))
    yield found
    found.stop()


def run(*arguments):
    return demo._run(main.build_parser().parse_args(
        ["demo", "--services", *arguments]))


@pytest.mark.parametrize("there, url, text", [
    ((), URL, "install nova-kvs[cloud]: missing=keystone glance"),
    (("keystone",), URL, "missing=glance"),
    (services.PACKAGES, "kvs+memory:///x", "name one with --url"),
])
def test_what_is_needed_is_said(there, url, text, monkeypatch, capsys):
    def version(name):
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return "33.0.0"

    with monkeypatch.context() as patched:
        patched.setattr(importlib.metadata, "version", version)
        assert run("--url", url) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert text.replace(": missing", " (missing") in captured.err


def test_their_databases_are_beside_novas(made):
    nova = {sqlalchemy.make_url(url).database
            for url in config.Databases.from_url(URL)}
    for name, url in made._urls.items():
        url = sqlalchemy.make_url(url)
        assert url.database == "x_" + name
        assert url.database not in nova
        assert url.query == {"foreign_keys": "true"}
        assert url.password == "secret"


def test_no_secret_is_an_argument(made, monkeypatch, tmp_path):
    started = []

    class Process:
        def wait(self):
            return 0

    def start(arguments, **options):
        started.append(arguments)
        return Process()

    monkeypatch.setattr(services.subprocess, "Popen", start)
    made._configure_keystone()
    made._manage("keystone", "bootstrap")
    text = " ".join(started[0])
    assert "bootstrap" in text
    assert "user:secret" not in text
    assert made._password not in text
    assert os.stat(tmp_path / "keystone.conf").st_mode & 0o077 == 0


def test_a_command_that_fails_is_named(made):
    with pytest.raises(exceptions.KVSError, match="glance-manage db_sync"):
        # No such package here.
        made._manage("glance", "db_sync")
    assert made._processes == []


def test_paste_keeps_keystones_middleware(tmp_path):
    path = config.write_api_paste(str(tmp_path / "api-paste.ini"), None)
    with open(path) as stream:
        text = stream.read()
    assert "keystonemiddleware.auth_token" in text
    assert "nova_kvs.demo.identity" not in text
