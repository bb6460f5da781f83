# SPDX-License-Identifier: Apache-2.0
"""Decorators of native functions, and the database of a context.

A decorated function takes the call's Session first and is registered under
the Nova function that it replaces. What the decorator returns has the name
and signature of Nova's: it runs natively when the context's database is a
KVS one and no transaction is open on the context, and otherwise calls
Nova's own.
"""

import contextlib
import contextvars
import functools
import importlib
import inspect
import sys

import nova.context
from nova.db.api import api as api_db_api
from nova.db.main import api as main_db_api

from nova_kvs.compatibility import private
from nova_kvs.db import engines
from nova_kvs.db import errors
from nova_kvs.db import overrides
from nova_kvs.db import session
from nova_kvs import exceptions
from nova_kvs.record import runner

#: "module:qualified name" of Nova's function -> native wrapper.
REGISTRY = {}

MAIN = "nova.db.main.api"

#: Module that was not imported when the functions were put in front of
#: Nova's -> what does that for its functions, too.
awaited = {}

Fallback = errors.Fallback

_use_slave = contextvars.ContextVar("nova_kvs_use_slave", default=False)
# The Session that several native calls share, see ``shared_session``.
_shared = contextvars.ContextVar("nova_kvs_shared", default=None)


@contextlib.contextmanager
def reading_replica():
    """Let native reads in this block use ``slave_connection``."""
    token = _use_slave.set(True)
    try:
        yield
    finally:
        _use_slave.reset(token)


@contextlib.contextmanager
def shared_session(kvs):
    """Let the native calls on a database in this block be one transaction.

    Only for calls that add rows: they do not see each other's, and a
    conflict is not retried inside.

    :raises oslo_db.exception.DBDeadlock: if it conflicts with another.
    """
    shared = session.Session(kvs)
    token = _shared.set(shared)
    try:
        yield
    finally:
        _shared.reset(token)
    try:
        shared.commit()
    except exceptions.ConflictError as error:
        raise errors.translate(error) from error


def _look_for_awaited():
    for name, install in list(awaited.items()):
        module = sys.modules.get(name)
        # Another thread may be importing it.
        if module is not None and not getattr(
                module.__spec__, "_initializing", False):
            install()


def _resolve(manager, context):
    """Return the Database of a call, or None if it is not for us."""
    if awaited:
        _look_for_awaited()
    factory = getattr(manager, private.FACTORY)
    if engines.is_in_transaction(factory, context):
        return None
    return engines.databases(factory)[_use_slave.get()]


def main_database(context):
    """Return the KVS database of the cell that a context is targeted at.

    :returns: a Database; None if the cell is an SQL one or a transaction is
        open on the context, and in nova-compute, which may not ask.
    """
    if getattr(main_db_api, "DISABLE_DB_ACCESS", False):
        # Nova's own function raises what is right.
        return None
    return _resolve(main_db_api.get_context_manager(context), context)


def api_database(context):
    """Return the KVS database with the API tables, as ``main_database``."""
    return _resolve(api_db_api.context_manager, context)


def lookup(target):
    """Return (owner, attribute name) of a "module:qualified name"."""
    module_name, _colon, qualified = target.partition(":")
    owner = importlib.import_module(module_name)
    *path, name = qualified.split(".")
    for part in path:
        owner = getattr(owner, part)
    return owner, name


def original(target):
    """Return Nova's own function, even when ours is in front of it."""
    owner, name = lookup(target)
    found = getattr(owner, name)
    return getattr(found, "nova_original", found)


def _register(function, target, resolve, mode, require_context):
    names = list(inspect.signature(function).parameters.values())[1:]

    def run(kvs, context, args, kwargs):
        if require_context:
            nova.context.require_context(context)
        shared = _shared.get()
        if shared is not None and shared.database is kvs:
            return function(shared, context, *args, **kwargs)
        if mode is runner.Mode.READ:
            return function(session.Session(kvs, False), context,
                            *args, **kwargs)
        return session.run(
            kvs, lambda current: function(current, context, *args, **kwargs),
            mode)

    def wrapper(context=None, *args, **kwargs):
        try:
            kvs = resolve(context)
            if kvs is not None and not overrides.are_replaced(
                    wrapper.nova_callees):
                if kvs.observer is None:
                    return run(kvs, context, args, kwargs)
                return kvs.observer.call(
                    target, run, kvs, context, args, kwargs)
        except Fallback:
            pass
        except errors.INTERNAL as error:
            raise errors.translate(error) from error
        return original(target)(context, *args, **kwargs)

    functools.update_wrapper(wrapper, function)
    del wrapper.__wrapped__
    wrapper.__signature__ = inspect.Signature(names)
    wrapper.native = function
    wrapper.target = target
    #: Functions that Nova's own calls, see ``overrides``; from ``dispatch``.
    wrapper.nova_callees = ()
    REGISTRY[target] = wrapper
    return wrapper


def _decorator(resolve, mode):
    def decorate(target=None, require_context=False, may_lag=False):
        def register(function):
            return _register(
                function, target or "%s:%s" % (MAIN, function.__name__),
                resolve, runner.Mode.MAY_LAG if may_lag else mode,
                require_context)
        return register
    return decorate


#: Decorators: ``target`` is the Nova function, by default the one of this
#: name in nova.db.main.api; ``require_context`` as Nova's decorator.
#: ``may_lag`` is for writers: see ``nova_kvs.record.runner``.
main_reader = _decorator(main_database, runner.Mode.READ)
main_writer = _decorator(main_database, runner.Mode.SPECULATE)
api_reader = _decorator(api_database, runner.Mode.READ)
api_writer = _decorator(api_database, runner.Mode.SPECULATE)
