# SPDX-License-Identifier: Apache-2.0
import configparser
import importlib.metadata
import os
import stat

from oslo_config import cfg
import pytest

from nova_kvs.demo import config
from nova_kvs import exceptions

ENDPOINTS = config.Endpoints("fake://", "http://p", "http://i", "http://n")


def test_databases_of_a_url():
    databases = config.Databases.from_url(
        "kvs+cluster://u:p%40@h:7000/demo?node=a:1&node=b:2")
    assert databases.cell1 == (
        "kvs+cluster://u:p%40@h:7000/demo_cell1?node=a%3A1&node=b%3A2")
    assert [url.partition("?")[0].rpartition("/")[2] for url in databases
            ] == ["demo_api", "demo_cell0", "demo_cell1", "demo_placement"]


def test_databases_without_a_name():
    assert config.Databases.from_url("kvs+redis://h").api == (
        "kvs+redis://h/demo_api")


def test_files_are_read_back_as_written(tmp_path):
    value = "kvs+redis://u:a$b%25${x}@h/x"
    path = config.write_conf(
        str(tmp_path / "x.conf"), {"database": {"connection": value}})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("connection"), group="database")
    conf(["--config-file", path])
    assert conf.database.connection == value


def test_compute_knows_no_database():
    sections = config.nova_sections(ENDPOINTS, None, "c1", "/state")
    assert "database" not in sections
    assert "api_database" not in sections
    sections = config.nova_sections(
        ENDPOINTS, config.Databases("a", "0", "1", "p"), "c1", "/state")
    assert sections["database"] == {"connection": "1"}
    assert sections["api_database"] == {"connection": "a"}


def test_api_paste_differs_in_one_filter(tmp_path):
    path = config.write_api_paste(str(tmp_path / "api-paste.ini"), "s3cret")
    ours, theirs = (configparser.RawConfigParser() for _ in range(2))
    ours.read(path)
    theirs.read(config._nova_paste_file())
    differing = [name for name in theirs.sections()
                 if dict(ours[name]) != dict(theirs[name])]
    assert differing == ["filter:authtoken"]
    assert ours["filter:authtoken"]["token"] == "s3cret"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_api_paste_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "files", lambda name: None)
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with pytest.raises(exceptions.ConfigurationError):
        config._nova_paste_file()
