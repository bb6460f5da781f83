# SPDX-License-Identifier: Apache-2.0
"""Which calls are native: decorators, and how a context finds its database.

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
from nova import exception

from nova_kvs.compatibility import private
from nova_kvs.db import engines
from nova_kvs.db import errors
from nova_kvs.db import overrides
from nova_kvs.db import session
from nova_kvs import exceptions
from nova_kvs.txn import retry

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


class Attempts:
    """Runs a writing function, each time that it is called.

    The first time what the process remembers of a server is taken for what
    is stored, which spares a round trip if the commit proves it. If it does
    not, or whatever else comes of it without proof (the function raises, or
    finds nothing to write), the function is run once more, as each time
    from then on, with what the store has.

    :param kvs: Database.
    :param function: is given the Session, which is committed afterwards.
    """

    def __init__(self, kvs, function):
        self._kvs = kvs
        self._function = function
        self._guesses = True

    def __call__(self):
        if not self._guesses:
            return self._finish(session.Session(self._kvs))
        self._guesses = False
        guessing = session.Session(self._kvs, guesses=True)
        read = None
        try:
            return self._finish(guessing)
        except exceptions.StaleError as error:
            read, reply = error.read, error.reply
        # Whatever a function raises may be due to what is out of date.
        except Exception as error:
            if not guessing.transaction.is_speculative() or isinstance(
                    error, exceptions.StoreUnavailableError):
                raise
        again = session.Session(self._kvs, spare=guessing.ids)
        if read is not None:
            again.transaction.give(read, reply)
        return self._finish(again)

    def _finish(self, current):
        result = self._function(current)
        current.commit()
        return result


def _try_near(function, kvs, context, args, kwargs):
    """Run a function that writes on what a replica near by has.

    :returns: a tuple with its result; None if it is to be run on what the
        master has: its rows were others, or not there, on the replica.
    """
    current = session.Session(kvs, near=True)
    try:
        result = function(current, context, *args, **kwargs)
        if current.has_changes():
            current.commit()
            return (result,)
    except (exceptions.ConflictError, exception.NotFound):
        pass
    return None


def _register(function, target, resolve, writes, require_context, near):
    names = list(inspect.signature(function).parameters.values())[1:]

    def run(kvs, context, args, kwargs):
        if require_context:
            nova.context.require_context(context)
        shared = _shared.get()
        if shared is not None and shared.database is kvs:
            return function(shared, context, *args, **kwargs)
        if not writes:
            return function(session.Session(kvs, False), context,
                            *args, **kwargs)

        if near and kvs.reads_near:
            done = _try_near(function, kvs, context, args, kwargs)
            if done is not None:
                return done[0]
        return retry.run(Attempts(kvs, lambda current: function(
            current, context, *args, **kwargs)))

    def wrapper(context=None, *args, **kwargs):
        try:
            kvs = resolve(context)
            if kvs is not None and not overrides.are_replaced(
                    wrapper.nova_callees):
                return run(kvs, context, args, kwargs)
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
    #: What Nova's function calls, see ``overrides``; set by ``dispatch``.
    wrapper.nova_callees = ()
    REGISTRY[target] = wrapper
    return wrapper


def _decorator(resolve, writes):
    def decorate(target=None, require_context=False, near=False):
        def register(function):
            return _register(
                function, target or "%s:%s" % (MAIN, function.__name__),
                resolve, writes, require_context, near)
        return register
    return decorate


#: Decorators: ``target`` is the Nova function, by default the one of this
#: name in nova.db.main.api; ``require_context`` as Nova's decorator.
#: ``near`` is for writers: what the function does depends on no row but
#: those that it changes, whose versions the commit compares.
main_reader = _decorator(main_database, False)
main_writer = _decorator(main_database, True)
api_reader = _decorator(api_database, False)
api_writer = _decorator(api_database, True)
