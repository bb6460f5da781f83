# SPDX-License-Identifier: Apache-2.0
"""That no private name of others is used but by way of ``private``."""

import ast
import importlib
import pathlib

from nova.db.main import api  # noqa: F401  opens a socket
import pytest

from nova_kvs.compatibility import private

PACKAGE = pathlib.Path(private.__file__).parents[1]
#: Private names of other libraries, which belong to whoever needs them.
OTHERS = {
    "_sock": "redis", "_SubParsersAction": "argparse", "_actions": "argparse",
    "_exit": "os",
}
#: As text, and attributes of nobody.
WORDS = {"_rowid_", "_alembic_tmp_", "_initializing",
         # Public, for all its looks: of every named tuple.
         "_asdict"}


def _trees():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != pathlib.Path(private.__file__):
            yield path, ast.parse(path.read_text())


def _is_private(name):
    return name.startswith("_") and not name.startswith("__") and (
        len(name) > 1)


def _defined():
    """Return the private names that are our own."""
    found = set()
    for _path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(
                    node.ctx, ast.Store):
                found.add(getattr(node, "id", None) or node.attr)
            elif isinstance(node, ast.Assign) and any(
                    getattr(target, "id", "") == "__slots__"
                    for target in node.targets):
                found.update(item.value for item in ast.walk(node.value)
                             if isinstance(item, ast.Constant))
    return found


def _used():
    """Yield (place, name) of private attributes that are read."""
    for path, tree in _trees():
        for node in ast.walk(tree):
            name = None
            if isinstance(node, ast.Attribute):
                name = node.attr
            elif isinstance(node, ast.Call) and isinstance(
                    node.func, ast.Name) and node.func.id in (
                        "getattr", "hasattr", "setattr", "delattr"):
                name = getattr(node.args[1], "value", None)
            if isinstance(name, str) and _is_private(name):
                yield "%s:%d" % (path.relative_to(PACKAGE), node.lineno), name


def test_private_names_of_others_are_all_in_one_module():
    allowed = _defined() | set(OTHERS) | WORDS
    assert [found for found in _used() if found[1] not in allowed] == []


def test_every_name_is_used():
    text = "".join(path.read_text() for path, _tree in _trees())
    overridden = _defined()
    for constant, name in private.all_names().items():
        assert "private." + constant in text or name in overridden


@pytest.mark.parametrize("constant", sorted(private.all_names()))
def test_the_owner_is_there(constant):
    name = private.all_names()[constant]
    module, _colon, qualified = name.owner.partition(":")
    owner = importlib.import_module(module)
    for part in filter(None, qualified.split(".")):
        owner = getattr(owner, part)


def test_overridden_methods_are_there():
    """Else ours would never be called."""
    for name in private.all_names().values():
        if name.owner.startswith("sqlalchemy.") and name in _defined():
            module, _colon, qualified = name.owner.partition(":")
            owner = getattr(importlib.import_module(module), qualified)
            assert hasattr(owner, name)
