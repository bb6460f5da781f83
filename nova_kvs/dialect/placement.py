# SPDX-License-Identifier: Apache-2.0
"""Has Placement answer a request again that lost a race at its commit.

Placement relies on row locks: a statement of a second writer waits for the
first, and then finds that a generation has changed or a name is taken, which
Placement handles. Here the second writer learns of it when it commits, where
Placement handles nothing and would answer with HTTP 500, from which Nova
concludes that a host cannot take a server. Nothing of the transaction that
lost is stored, and a handler reads all it needs anew, so the request is
simply dispatched again: then the statements see what the first writer did.
One that loses again and again is answered as Placement answers a race that it
noticed itself: HTTP 409, with the code that has Nova ask again.

Where replicas are read (``read_from``), a request to change something may be
refused for what the masters would not have refused it for: a generation that
differs, a host that seems full. It is dispatched again on what the masters
have before that is believed. That is for PUT, which may be repeated; others
read masters at once. A DELETE of allocations is two transactions: if what the
second has read of a replica turned out to be old, the request would be
dispatched again, find no allocations and leave their consumer behind.

Placement never gives out more than there is. It sums up what is allocated of
a provider in one statement, reads the provider's generation in a later one,
and takes the sum for that of the generation. So the transactions of a request
that changes something are SERIALIZABLE: sum and generation are of one moment,
and nobody else changes them before the commit. (Claims are native, if they can
be: ``nova_kvs.db.placement.claims`` has its own proof.)
"""

import functools
import itertools
import logging
import sys

from oslo_db import exception as db_exception
import sqlalchemy

from nova_kvs.compatibility import private
from nova_kvs import exceptions
from nova_kvs.record import database as databases
from nova_kvs import translation
from nova_kvs.txn import retry

LOG = logging.getLogger(__name__)

#: A host that many servers are claimed on at once is written one by one.
ATTEMPTS = 20
#: Tables that each process of Placement fills when it starts. It repeats
#: that after a deadlock, and expects no duplicate at its commit.
FILLED_AT_START = frozenset(("traits", "resource_classes"))
_MODULE = "placement.handler"
_ERRORS = "placement.errors"
_PROVIDERS = "placement.objects.resource_provider"
_TRAITS = sqlalchemy.table("traits", sqlalchemy.column("id"))
_READING = frozenset(("GET", "HEAD"))
_ALLOCATIONS = "/allocations/"


def _is_lost_race(error):
    """Return whether an oslo.db error is one of ours that may not recur."""
    if isinstance(error.__cause__, exceptions.ConflictError):
        # Of a native function.
        return True
    original = getattr(error.inner_exception, "orig", None)
    return isinstance(
        getattr(original, "kvs_error", None),
        (exceptions.ConflictError, exceptions.DuplicateKeyError))


def _is_guarded(environ):
    """Tell whether what a request reads must hold until it commits.

    All that change something, but for the DELETE of allocations: it only
    gives back, and cannot be dispatched twice.
    """
    method = environ.get("REQUEST_METHOD")
    if method == "DELETE":
        return not environ.get("PATH_INFO", "").startswith(_ALLOCATIONS)
    return method not in _READING


def _concurrent_update(handler):
    """Return a function that makes Placement's own answer to a lost race.

    Nova asks again when it gets that one.

    :param handler: the module ``placement.handler``.
    """
    def refuse(environ):
        environ[handler.util.ENV_ERROR_CODE] = getattr(
            sys.modules.get(_ERRORS), "CONCURRENT_UPDATE", None)
        return handler.webob.exc.HTTPConflict(
            "Other requests changed the same records first, %d times: ask "
            "again." % ATTEMPTS,
            json_formatter=handler.util.json_error_formatter)
    return refuse


def replayed(dispatch, attempts=ATTEMPTS, sleep=None, refusals=(),
             refuse=None):
    """Return a dispatch function that answers again after a lost race.

    :param dispatch: as ``placement.handler.dispatch``.
    :param attempts: greatest number of calls for one request.
    :param sleep: instead of ``time.sleep``.
    :param refusals: exceptions by which a request is refused.
    :param refuse: function that returns what to raise for a request that
        lost all its races; None: what the last one raised.
    """
    def answer(environ, *args):
        if not _is_guarded(environ):
            return repeat(environ, *args)
        with databases.serializable():
            return repeat(environ, *args)

    def repeat(environ, *args):
        method = environ.get("REQUEST_METHOD")
        for round_number in itertools.count(1):
            try:
                return dispatch(environ, *args)
            except (db_exception.DBDeadlock,
                    db_exception.DBDuplicateEntry) as error:
                if not _is_lost_race(error):
                    raise
                if round_number >= attempts:
                    if refuse is None or method in _READING:
                        raise
                    raise refuse(environ) from error
                LOG.debug("%s %s lost a race: again", method,
                          environ.get("PATH_INFO"))
                retry.pause(round_number - 1, sleep)

    @functools.wraps(dispatch)
    def dispatch_again(environ, start_response, *args):
        method = environ.get("REQUEST_METHOD")
        if method in _READING or not databases.may_lag():
            return answer(environ, start_response, *args)
        if method != "PUT":
            with databases.reading_masters():
                return answer(environ, start_response, *args)
        # webob begins its response before it returns.
        begun = []
        try:
            body = answer(environ, lambda *response: begun.append(response),
                          *args)
            refused = any(response[0] >= "4" for response in begun)
        except refusals:
            refused = True
        if not refused:
            for response in begun:
                start_response(*response)
            return body
        with databases.reading_masters():
            return answer(environ, start_response, *args)

    dispatch_again.kvs_replays = True
    return dispatch_again


def _keeping_traits(add):
    """Return a function that adds no trait which is not there any more.

    MySQL's foreign key would refuse it. A trait that is deleted from now on
    makes the commit fail, since its row is locked.

    :param add: as ``resource_provider._add_traits_to_provider``.
    """
    @functools.wraps(add)
    def add_present(context, provider_id, trait_ids):
        session = context.session
        if session.get_bind().dialect.name == "kvs":
            found = session.execute(sqlalchemy.select(_TRAITS.c.id).where(
                _TRAITS.c.id.in_(list(trait_ids))).with_for_update())
            if len(found.all()) < len(trait_ids):
                # Dispatched again, the request finds that out by itself.
                raise db_exception.DBDeadlock(sqlalchemy.exc.OperationalError(
                    "", {}, translation.dbapi_error(
                        exceptions.ConflictError(table=_TRAITS.name))))
        return add(context, provider_id, trait_ids)

    add_present.kvs_keeps_traits = True
    return add_present


def register():
    """Have Placement's API, if this process runs it, answer again."""
    handler = sys.modules.get(_MODULE)
    if handler is not None and not hasattr(handler.dispatch, "kvs_replays"):
        handler.dispatch = replayed(
            handler.dispatch, refusals=(
                handler.webob.exc.HTTPError, getattr(
                    handler.exception, private.BASE_EXCEPTION,
                    handler.webob.exc.HTTPError)),
            refuse=_concurrent_update(handler))
    providers = sys.modules.get(_PROVIDERS)
    add = getattr(providers, private.ADD_TRAITS, None)
    if callable(add) and not hasattr(add, "kvs_keeps_traits"):
        setattr(providers, private.ADD_TRAITS, _keeping_traits(add))
