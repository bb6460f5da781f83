# SPDX-License-Identifier: Apache-2.0
"""What a fingerprint covers, and what it does not."""

import textwrap

import pytest

from nova_kvs.compatibility import source

API = '''
import functools
from nova.db import utils
from nova.db.main import models
from nova import exception

LIMIT = 5
UNUSED = 6

def reader(f):
    """Decorate."""
    return helper(f)

def helper(f):
    return f

def unused():
    return 0

@reader
def get(context, uuid, limit=LIMIT):
    """Get it."""
    return _find(context, uuid)

def _find(context, uuid):
    if not uuid:
        raise exception.NotFound()
    return utils.look_up(models.Thing, uuid)
'''
UTILS = '''
def look_up(model, uuid):
    return model.find(uuid)
'''
MODELS = '''
class Thing:
    __table_args__ = (1,)
    uuid = sa.Column(1)
    extra = orm.deferred(sa.Column(3))
    other = orm.relationship(Other)
'''
OBJECT = '''
class Thing:
    @staticmethod
    def _get(context):
        return Thing._inner(context)

    @classmethod
    def _inner(cls, context):
        return cls._other

    @property
    def _other(self):
        return 1

    def unused(self):
        return 2
'''
GET = "nova.db.main.api:get"
METHOD = "nova.objects.thing:Thing._get"


def tree(root, **changes):
    """Write the package with some texts replaced; return its Tree."""
    for name, text in (("db/main/api", API), ("db/utils", UTILS),
                       ("db/main/models", MODELS), ("objects/thing", OBJECT),
                       ("exception", "class NotFound:\n    pass\n")):
        for old, new in changes.get(name.rpartition("/")[2], ()):
            assert old in text
            text = text.replace(old, new)
        path = root / "nova" / (name + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return source.Tree(root)


@pytest.mark.parametrize("target, changes", [
    (GET, {"api": [("return _find(", "return 1 and _find(")]}),
    (GET, {"api": [("limit=LIMIT", "limit=6")]}),
    (GET, {"api": [("get(context, uuid,", "get(context, uuid, *,")]}),
    (GET, {"api": [("LIMIT = 5", "LIMIT = 7")]}),
    (GET, {"api": [("if not uuid", "if uuid is None")]}),
    (GET, {"api": [("return helper(f)", "return f")]}),
    (GET, {"api": [("    return f\n", "    return f or None\n")]}),
    (GET, {"api": [("@reader\n", "")]}),
    (GET, {"utils": [("model.find", "model.get")]}),
    (GET, {"models": [("Other", "Another")]}),
    (METHOD, {"thing": [("return Thing.", "return not Thing.")]}),
    (METHOD, {"thing": [("cls._other", "cls._other or 0")]}),
    (METHOD, {"thing": [("return 1", "return 3")]}),
])
def test_what_is_reached_counts(tmp_path, target, changes):
    before = tree(tmp_path / "a").fingerprint(target)
    assert tree(tmp_path / "b", **changes).fingerprint(target) != before


@pytest.mark.parametrize("target, changes", [
    (GET, {}),
    (GET, {"api": [('    """Get it."""\n', "")]}),
    (GET, {"api": [('"""Decorate."""', '"""Another text."""')]}),
    (GET, {"api": [("if not uuid:", "if (not\n            uuid):  # why")]}),
    (GET, {"api": [("context, uuid):", "context, uuid: str) -> int:")]}),
    (GET, {"api": [("UNUSED = 6", "UNUSED = 7")]}),
    (GET, {"api": [("return 0", "return 1")]}),
    (GET, {"api": [("LIMIT = 5\n", ""), ("UNUSED = 6", "LIMIT = 5")]}),
    (GET, {"models": [("uuid = sa.Column(1)", "uuid = sa.Column(2)"),
                      ("(1,)", "(2,)"), ("Column(3)", "Column(4)")]}),
    (METHOD, {"thing": [("return 2", "return 3")]}),
])
def test_nothing_else_counts(tmp_path, target, changes):
    before = tree(tmp_path / "a").fingerprint(target)
    assert before
    assert tree(tmp_path / "b", **changes).fingerprint(target) == before


def test_what_is_not_there_has_none(tmp_path):
    found = tree(tmp_path)
    for target in ("nova.db.main.api:gone", "nova.db.gone:get",
                   "nova.objects.thing:Thing.gone",
                   "nova.objects.thing:Gone._get"):
        assert found.fingerprint(target) is None
        assert found.parameters(target) is None


def test_parameters(tmp_path):
    assert tree(tmp_path).parameters(GET) == ["context", "uuid", "limit"]


def test_names_that_are_looked_up(tmp_path):
    found = tree(tmp_path)
    reached = {(reference.space, reference.name, reference.is_late)
               for name in found.closure(GET)
               for reference in found.references(name)}
    assert reached == {
        ("nova.db.main.api", "LIMIT", True),
        ("nova.db.main.api", "_find", True),
        ("nova.db.main.api", "helper", True),
        ("nova.db.main.api", "reader", False),
        ("nova.db.main.models", "Thing", True),
        ("nova.db.utils", "look_up", True),
        ("nova.exception", "NotFound", True)}
