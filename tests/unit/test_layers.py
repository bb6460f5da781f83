# SPDX-License-Identifier: Apache-2.0
"""The layers: who may import whom, and where errors are translated."""

import ast
import pathlib
import re

import pytest

from nova_kvs.db import errors as native_errors
from nova_kvs.dialect import dbapi
from nova_kvs.dialect import errors as dialect_errors
from nova_kvs import exceptions
from nova_kvs import translation

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "nova_kvs"

#: Layer -> the layers it stands on, as the design page draws them.
BELOW = {
    "compatibility": set(),
    "rules": set(),
    "store": set(),
    "txn": {"store"},
    "record": {"store", "txn"},
    "dialect": {"store", "txn", "record", "compatibility", "rules"},
    "db": {"store", "txn", "record", "compatibility"},
    "demo": {"store", "txn", "record", "dialect", "db"},
    "inspection": {"store", "txn", "record", "compatibility"},
    "transfer": {"store", "txn", "record", "dialect", "inspection"},
    "cmd": {"store", "txn", "record", "dialect", "db", "demo", "inspection",
            "transfer"},
}
#: Modules at the top, which every layer may use.
COMMON = {"cache", "conf", "exceptions", "keyspace", "metrics", "observing",
          "regexp", "translation", "wording"}
#: Modules of ``db`` that put the native functions and the dialect together.
JOINTS = {"db/api.py", "db/dispatch.py"}


def imported_layers(path):
    """Return what of nova_kvs a module imports: {layer or module: line}."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "%s: relative import" % path
            names = ["%s.%s" % (node.module, alias.name)
                     for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "nova_kvs" and len(parts) > 1:
                found.setdefault(parts[1], node.lineno)
    return found


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        if len(name.parts) > 1:
            yield str(name), name.parts[0], path


def test_imports_point_down():
    wrong = []
    seen = set()
    for name, layer, path in modules():
        seen.add(layer)
        allowed = BELOW[layer] | COMMON | {layer}
        if name in JOINTS:
            allowed |= {"dialect"}
        wrong += ["%s:%d imports %s" % (name, line, target)
                  for target, line in imported_layers(path).items()
                  if target not in allowed]
    assert seen <= set(BELOW)
    assert {"store", "txn", "record", "dialect", "db", "cmd"} <= seen
    assert wrong == []


def test_the_top_modules_stand_on_no_layer():
    for name in COMMON:
        path = PACKAGE / (name + ".py")
        assert set(imported_layers(path)) <= {
            "conf", "exceptions", "observing"}, name


def test_only_the_store_knows_the_client_library():
    clients = {"redis", "fakeredis", "hiredis"}
    wrong = []
    for name, layer, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names = ([alias.name for alias in node.names]
                     if isinstance(node, ast.Import) else
                     [node.module] if isinstance(node, ast.ImportFrom)
                     else [])
            if layer != "store" and clients & {
                    found.partition(".")[0] for found in names}:
                wrong.append("%s:%d" % (name, node.lineno))
    assert wrong == []


#: Error -> (PEP 249 class of the dialect, oslo.db class for Nova).
MAPPING = {
    exceptions.KVSError: ("OperationalError", "DBError"),
    exceptions.ConfigurationError: ("OperationalError", "DBError"),
    exceptions.ConflictError: ("OperationalError", "DBDeadlock"),
    exceptions.FloorError: ("OperationalError", "DBDeadlock"),
    exceptions.HeldUpError: ("OperationalError", "DBDeadlock"),
    exceptions.SpeculationFailedError: ("OperationalError", "DBDeadlock"),
    exceptions.ReplicaLaggedError: ("OperationalError", "DBDeadlock"),
    exceptions.SerializationError: ("OperationalError", "DBDeadlock"),
    exceptions.UndeterminedError: ("OperationalError", "DBConnectionError"),
    exceptions.UnreplicatedError: ("OperationalError", "DBConnectionError"),
    exceptions.StoreUnavailableError:
        ("OperationalError", "DBConnectionError"),
    exceptions.StoreReplyError: ("OperationalError", "DBError"),
    exceptions.TooLargeError: ("OperationalError", "DBError"),
    exceptions.DuplicateKeyError: ("IntegrityError", "DBDuplicateEntry"),
    exceptions.ForeignKeyError: ("IntegrityError", "DBReferenceError"),
    exceptions.UnsupportedStatementError:
        ("NotSupportedError", "DBNotSupportedError"),
    exceptions.FormatVersionError: ("InternalError", "DBError"),
    exceptions.IncompleteImportError: ("InternalError", "DBError"),
    exceptions.CorruptRecordError: ("InternalError", "DBError"),
}


def tree(cls):
    """Yield a class and all that are derived from it."""
    yield cls
    for child in cls.__subclasses__():
        yield from tree(child)


def make(cls):
    return cls(table="t", columns=("c",), values=("v",), constraint="k",
               key="c", key_table="p")


def test_every_error_has_a_row_of_the_mapping():
    assert set(tree(exceptions.KVSError)) == set(MAPPING)


def test_every_row_of_the_table_is_one_of_the_tree():
    assert set(translation.TABLE) <= set(MAPPING)
    assert exceptions.KVSError in translation.TABLE


@pytest.mark.parametrize("cls", MAPPING)
def test_the_dialect_translates_to_pep_249(cls):
    translated = translation.dbapi_error(make(cls))
    assert isinstance(translated, getattr(dbapi, MAPPING[cls][0]))


@pytest.mark.parametrize("translate", [
    lambda error: dialect_errors.oslo_error(error, error),
    native_errors.translate,
], ids=["dialect", "native"])
@pytest.mark.parametrize("cls", MAPPING)
def test_both_ways_translate_to_the_same_oslo_error(cls, translate):
    translated = translate(make(cls))
    assert type(translated).__name__ == MAPPING[cls][1]
    if cls is exceptions.DuplicateKeyError:
        assert translated.columns == ["c"]
    if cls is exceptions.ForeignKeyError:
        assert (translated.table, translated.constraint, translated.key,
                translated.key_table) == ("t", "k", "c", "p")


#: What only Redis's drivers say, and may import.
REDIS_WORDS = re.compile(
    r"\.lua\b|\bScriptCall\b|\bCommand\(|\b(?:EVAL|EVALSHA|HDEL|HGET|HGETALL|"
    r"HMGET|HSCAN|HSET|INCRBY|PEXPIRE|PTTL|UNLINK|ZADD|ZRANGE|ZRANGEBYLEX|"
    r"ZREM|ZSCAN|ZSCORE)\b|^\s*(?:from|import) (?:redis|hiredis|fakeredis)\b|"
    r"^from nova_kvs\.store\.redis\b", re.MULTILINE)


def test_only_the_drivers_know_redis():
    wrong = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("store/redis/"):
            found = REDIS_WORDS.findall(path.read_text())
            if found:
                wrong[name] = found
    assert wrong == {}
    assert REDIS_WORDS.search((PACKAGE / "store/redis/raw.py").read_text())
