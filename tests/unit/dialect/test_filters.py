# SPDX-License-Identifier: Apache-2.0
import sys
import types

from nova.db import utils as db_utils
import pytest

from nova_kvs.dialect import filters


def test_nova_filters_with_regular_expressions():
    filters.register()
    safe, operator = db_utils.get_regexp_ops("kvs+cluster://host:1/cell1")
    assert (safe("a|b"), operator) == ("a|b", "REGEXP")


def test_other_databases_keep_theirs():
    filters.register()
    safe, operator = db_utils.get_regexp_ops("mysql+pymysql://host/cell1")
    assert (safe("a|b"), operator) == ("a\\|b", "REGEXP")
    assert db_utils.get_regexp_ops("postgresql://host/x")[1] == "~"
    assert db_utils.get_regexp_ops("other://host/x")[1] == "LIKE"


def test_registering_twice_wraps_once(monkeypatch):
    module = types.SimpleNamespace(
        _db_connection_type=lambda connection: "kvs")
    monkeypatch.setitem(sys.modules, "nova.db.main.api", module)
    filters.register()
    once = module._db_connection_type
    filters.register()
    assert module._db_connection_type is once
    assert once("kvs+redis://host/x") == "sqlite"


@pytest.mark.parametrize("name", ["_get_regexp_ops", "get_regexp_ops"])
def test_a_nova_without_the_function_that_tells_schemes(monkeypatch, name):
    module = types.SimpleNamespace(**{name: lambda connection: connection})
    monkeypatch.setitem(sys.modules, "nova.db.main.api", module)
    filters.register()
    filters.register()
    get = getattr(module, name)
    assert get("kvs+redis://host/x") == "sqlite://"
    assert get("mysql://host/x") == "mysql://host/x"
    assert get(None) is None
    assert not hasattr(get.__wrapped__, "__wrapped__")


def test_a_nova_with_something_else_there(monkeypatch):
    module = types.SimpleNamespace(_db_connection_type="x")
    monkeypatch.setitem(sys.modules, "nova.db.main.api", module)
    filters.register()
    assert module._db_connection_type == "x"
