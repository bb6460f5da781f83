# SPDX-License-Identifier: Apache-2.0
"""Answers services that look at the dialect's name to see what it can do.

The dialect speaks SQLite's SQL, so those that know SQLite get its answer.
Functions that a release does not have are left alone.
"""

import functools
import sys
import types

_OURS = "kvs"
_KNOWN = "sqlite"


def _of_a_name(function):
    """Return Neutron's function, which takes a dialect's name."""
    @functools.wraps(function)
    def answer(name):
        return function(_KNOWN if name == _OURS else name)

    return answer


def _of_an_engine(function):
    """Return Glance's method, which looks at the name of an engine."""
    @functools.wraps(function)
    def answer(self, engine):
        if engine.engine.name == _OURS:
            engine = types.SimpleNamespace(
                engine=types.SimpleNamespace(name=_KNOWN))
        return function(self, engine)

    return answer


def register():
    """Have the services that are in this process know the dialect."""
    neutron = sys.modules.get("neutron.common.utils")
    # By what its segments are chosen: without it they collide.
    _wrap(neutron, "get_sql_random_method", _of_a_name)
    # Its commands expand, migrate and contract.
    manage = sys.modules.get("glance.cmd.manage")
    _wrap(getattr(manage, "DbCommands", None), "_validate_engine",
          _of_an_engine)


def _wrap(owner, name, wrap):
    function = getattr(owner, name, None)
    if callable(function) and not hasattr(function, "kvs_knows_itself"):
        answer = wrap(function)
        answer.kvs_knows_itself = True
        setattr(owner, name, answer)
