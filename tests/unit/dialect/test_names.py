# SPDX-License-Identifier: Apache-2.0
import sys
import types

import pytest
import sqlalchemy as sa

from nova_kvs.dialect import names


def test_neutron_orders_at_random(monkeypatch, engine):
    module = types.SimpleNamespace(get_sql_random_method={
        "sqlite": sa.func.random, "mysql": sa.func.rand}.get)
    monkeypatch.setitem(sys.modules, "neutron.common.utils", module)
    names.register()
    once = module.get_sql_random_method
    names.register()
    assert module.get_sql_random_method is once
    assert str(once("kvs")()) == "random()"
    assert str(once("mysql")()) == "rand()"
    assert once("postgresql") is None
    with engine.connect() as connection:
        assert connection.execute(sa.select(once("kvs")())).scalar()


def test_glance_upgrades_while_it_runs(monkeypatch, engine):
    class DbCommands:
        def _validate_engine(self, found):
            if found.engine.name not in ("mysql", "sqlite"):
                raise SystemExit

    monkeypatch.setitem(sys.modules, "glance.cmd.manage",
                        types.SimpleNamespace(DbCommands=DbCommands))
    commands = DbCommands()
    with pytest.raises(SystemExit):
        commands._validate_engine(engine)
    names.register()
    commands._validate_engine(engine)
    with pytest.raises(SystemExit):
        commands._validate_engine(types.SimpleNamespace(
            engine=types.SimpleNamespace(name="postgresql")))


def test_services_that_are_not_there(monkeypatch):
    for name in ("neutron.common.utils", "glance.cmd.manage"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    names.register()
