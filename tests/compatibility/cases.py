# SPDX-License-Identifier: Apache-2.0
"""One case for each name of others that nova-kvs uses."""

import ast
import importlib
import pathlib

import nova_kvs
from nova_kvs.compatibility import private
from nova_kvs.compatibility import releases

PACKAGE = pathlib.Path(nova_kvs.__file__).parent
#: All functions of Nova and Placement are others than those that are known.
ALL_FUNCTIONS = "functions"
_MODELS = ("nova.db.main.models", "nova.db.api.models")


def models():
    """Return (module, class) of each model that native functions use."""
    found = set()
    for path in (PACKAGE / "db").glob("*.py"):
        tree = ast.parse(path.read_text())
        module = next((
            "%s.models" % node.module for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and "models" in [alias.name for alias in node.names]), None)
        if module in _MODELS:
            found.update(
                (module, node.attr) for node in ast.walk(tree)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "models" and node.attr[0].isupper())
    return sorted(found)


def names():
    """Return all cases, as text."""
    found = [ALL_FUNCTIONS]
    for constant in private.all_names():
        # What is not there, and what is something else.
        found += ["%s=_gone" % constant, "%s=__doc__" % constant]
    found += ["%s:%s" % model for model in models()]
    return found


def apply(case):
    """Make this process one in which a name is missing.

    To be called before nova_kvs.db and nova_kvs.dialect are imported.
    """
    if case == ALL_FUNCTIONS:
        releases.Release.is_known = lambda self, target: False
    elif "=" in case:
        constant, _equals, becomes = case.partition("=")
        name = private.all_names()[constant]
        setattr(private, constant, private.Name(name.owner, becomes))
        _take_override(name)
    else:
        _take_model(*case.split(":"))


def _take_override(name):
    """Have SQLAlchemy not call a method of ours any more."""
    from nova_kvs.dialect import base
    from nova_kvs.dialect import compiler
    for owner in (base.KVSDialect, compiler.KVSCompiler):
        if name in vars(owner) and name.owner.startswith("sqlalchemy."):
            delattr(owner, name)


def _take_model(module, name):
    """Have a model missing while native functions are loaded.

    Not later: this Nova still has to work.
    """
    from nova_kvs.db import selection
    load = selection.Selection.load

    def without(self):
        found = importlib.import_module(module)
        model = vars(found).get(name)
        if model is None or self._is_loaded:
            return load(self)
        delattr(found, name)
        try:
            return load(self)
        finally:
            setattr(found, name, model)

    selection.Selection.load = without
