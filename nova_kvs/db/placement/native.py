# SPDX-License-Identifier: Apache-2.0
"""Decorators of Placement's native functions.

A decorated function takes the call's Session first and is registered under
the function of Placement's that it replaces. It runs when the database is a
KVS one and no transaction is open on the context; otherwise Placement's own
runs.
"""

import contextvars
import functools
import importlib
import inspect

from placement import db_api
from webob import dec

from nova_kvs.compatibility import private
from nova_kvs.db import engines
from nova_kvs.db import errors
from nova_kvs.db import overrides
from nova_kvs.db import session
from nova_kvs import exceptions
from nova_kvs.txn import retry

#: "module:qualified name" of Placement's function -> what stands there.
REGISTRY = {}

Fallback = errors.Fallback

# (context, Session) that the calls made by a ``together`` share.
_shared = contextvars.ContextVar("nova_kvs_placement", default=None)


def _database(context):
    """Return the Database of a call, or None if it is not for us."""
    factory = getattr(
        db_api.placement_context_manager, private.FACTORY)
    if engines.is_in_transaction(factory, context):
        return None
    return engines.databases(factory)[0]


def _plain(raw):
    return raw.__func__ if isinstance(
        raw, (classmethod, staticmethod)) else raw


def lookup(target):
    """Return (owner, attribute name, what stands there) of a target.

    :param target: "module:qualified name".
    :returns: what stands there as it is stored, a classmethod for instance.
    :raises AttributeError: and ImportError, if this release of Placement
        does not have it.
    """
    module_name, _colon, qualified = target.partition(":")
    owner = importlib.import_module(module_name)
    *path, name = qualified.split(".")
    for part in path:
        owner = getattr(owner, part)
    found = inspect.getattr_static(owner, name)
    if isinstance(found, dec.wsgify):
        # A handler, which is in the table of paths as well.
        return found, "func", found.func
    return owner, name, found


def original(target):
    """Return Placement's own function, even when ours is in front of it."""
    found = _plain(lookup(target)[2])
    return getattr(found, "nova_original", found)


def _finder(name, at, context_of=None):
    """Return a function that finds the context among arguments."""
    def find_context(args, kwargs):
        found = args[at] if len(args) > at else kwargs[name]
        return found if context_of is None else context_of(found)

    return find_context


def _register(target, find_context, run):
    """Register what runs for a function of Placement's.

    :param find_context: of ``_finder``.
    :param run: function of (Placement's own function, Session, positional
        arguments, keyword arguments).
    """
    def wrapper(*args, **kwargs):
        context = find_context(args, kwargs)
        own = wrapper.nova_original
        shared = _shared.get()
        if shared is not None and shared[0] is context and (
                _database(context) is shared[1].database):
            # Whether helpers were replaced was asked for all together; and
            # what cannot be done natively has all of it done again.
            return run(own, shared[1], args, kwargs)
        try:
            kvs = _database(context)
            if kvs is not None and not overrides.are_replaced(
                    wrapper.nova_callees):
                current = session.Session(kvs, False)
                if kvs.observer is None:
                    return run(own, current, args, kwargs)
                return kvs.observer.call(
                    target, run, own, current, args, kwargs)
        except Fallback:
            pass
        except errors.INTERNAL as error:
            raise errors.translate(error) from error
        return own(*args, **kwargs)

    wrapper.target = target
    wrapper.watches_all = False
    #: As on Nova's, see ``overrides``. Set by ``dispatch``.
    wrapper.nova_original = None
    wrapper.nova_callees = ()
    REGISTRY[target] = wrapper
    return wrapper


def _decorator(target, at, context_of, run):
    """Return a decorator that registers a native function.

    :param run: function of (native function, Session, positional arguments,
        keyword arguments).
    """
    def register(function):
        parameters = list(inspect.signature(function).parameters.values())
        wrapper = _register(
            target, _finder(parameters[at + 1].name, at, context_of),
            lambda own, *args: run(function, *args))
        functools.update_wrapper(wrapper, function)
        del wrapper.__wrapped__
        wrapper.__signature__ = inspect.Signature(parameters[1:])
        wrapper.native = function
        return wrapper

    return register


def reader(target, at=0):
    """Return a decorator that registers a native function.

    :param target: "module:qualified name" of the function it replaces,
        which only reads.
    :param at: position of the context among its arguments.
    """
    return _decorator(
        target, at, None, lambda function, current, args, kwargs:
        function(current, *args, **kwargs))


def writer(target, at=0, context_of=None):
    """Return a decorator that registers a native function that writes.

    It is given the Database, where it has to ``run`` what it does.

    :param target: as of ``reader``, like ``at``.
    :param context_of: function that finds the context in the argument, if
        that is something else.
    """
    return _decorator(
        target, at, context_of, lambda function, current, args, kwargs:
        function(current.database, *args, **kwargs))


def run(database, function):
    """Run a function in a transaction that writes, and commit.

    :param function: is given a Session, each time a new one.
    :returns: what the function returns.
    :raises nova_kvs.exceptions.ConflictError: if it was in others' way each
        time.
    """
    def attempt():
        transaction = database.begin(serializable=True)
        current = session.Session(database, transaction=transaction)
        result = function(current)
        if transaction.is_torn:
            raise exceptions.ConflictError()
        current.commit_what_was_missing()
        return result

    return retry.run(attempt)


def together(target, name="context", at=0, prepare=None, context_of=None):
    """Register that a function of Placement's needs no transaction.

    What it does is done by functions it calls: those that are native share
    a Session, instead of the transaction that a decorator would open. The
    function must only read: it may be run again.

    :param target: a function decorated by enginefacade.
    :param name: of the parameter that is the context. :param at: where.
    :param prepare: native function to call first: it loads what the others
        will ask for.
    :param context_of: function that finds the context in the parameter, if
        that is something else.
    """
    find_context = _finder(name, at, context_of)

    def run(own, current, args, kwargs):
        inner = own.__wrapped__
        context = find_context(args, kwargs)
        shared = _shared.get()
        if shared is not None and shared[0] is context:
            return inner(*args, **kwargs)
        if prepare is not None:
            prepare(current, *args, **kwargs)
        token = _shared.set((context, current))
        try:
            return inner(*args, **kwargs)
        finally:
            _shared.reset(token)

    wrapper = _register(target, find_context, run)
    # Classes stand between it and the functions that it calls.
    wrapper.watches_all = prepare is not None or context_of is not None
    return wrapper
