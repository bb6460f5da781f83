# SPDX-License-Identifier: Apache-2.0
import io
import json
import sys
import types

from oslo_db import exception as db_exception
from placement import handler as placement_handler
import pytest
from sqlalchemy import exc
import webob

from nova_kvs.db import errors as db_errors
from nova_kvs.dialect import dbapi
from nova_kvs.dialect import errors
from nova_kvs.dialect import placement
from nova_kvs import exceptions
from nova_kvs.record import database as databases
from nova_kvs import translation

ENVIRON = {"REQUEST_METHOD": "PUT", "PATH_INFO": "/allocations/x"}


def oslo_error(cause):
    """Return what oslo.db raises for an internal error."""
    original = translation.dbapi_error(cause)
    return errors.oslo_error(
        cause, exc.DBAPIError.instance(
            None, None, original, dbapi.Error))


CONFLICT = exceptions.ConflictError()
DUPLICATE = exceptions.DuplicateKeyError(
    table="users", columns=("external_id",), values=("x",))


class Refused(Exception):
    """Stands for what Placement and webob raise."""


class Handler:
    """A dispatch function that fails for the first requests."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.calls = 0

    def __call__(self, environ, start_response, mapper):
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return [b"done"]


def wrap(handler, **kwargs):
    def dispatch(*args):
        return handler(*args)

    return placement.replayed(dispatch, sleep=lambda seconds: None, **kwargs)


def native_error(cause):
    """Return what a native function raises for an internal error."""
    try:
        raise db_errors.translate(cause) from cause
    except db_exception.DBError as error:
        return error


@pytest.mark.parametrize("error", [
    oslo_error(CONFLICT), oslo_error(DUPLICATE), native_error(CONFLICT)])
def test_lost_race_is_answered_again(error):
    handler = Handler(error, error)
    assert wrap(handler)(ENVIRON, None, None) == [b"done"]
    assert handler.calls == 3


@pytest.mark.parametrize("error", [
    db_exception.DBDeadlock(),
    db_exception.DBDuplicateEntry(["name"]),
    oslo_error(exceptions.StoreUnavailableError()),
    oslo_error(exceptions.UndeterminedError()),
    ValueError(),
])
def test_other_errors_are_raised_at_once(error):
    handler = Handler(error)
    with pytest.raises(type(error)):
        wrap(handler)(ENVIRON, None, None)
    assert handler.calls == 1


@pytest.mark.parametrize("table, kind", [
    ("traits", db_exception.DBDeadlock),
    ("resource_classes", db_exception.DBDeadlock),
    ("users", db_exception.DBDuplicateEntry)])
def test_what_is_filled_at_the_start_is_filled_again(table, kind):
    error = oslo_error(exceptions.DuplicateKeyError(
        table=table, columns=("name",), values=("x",)))
    assert type(error) is kind


def test_gives_up():
    handler = Handler(*[oslo_error(CONFLICT)] * 9)
    with pytest.raises(db_exception.DBDeadlock):
        wrap(handler, attempts=3)(ENVIRON, None, None)
    assert handler.calls == 3


@pytest.mark.parametrize("method, expected", [
    ("PUT", webob.exc.HTTPConflict), ("DELETE", webob.exc.HTTPConflict),
    ("GET", db_exception.DBDeadlock)])
def test_a_request_that_loses_all_races_is_to_ask_again(method, expected):
    """With Placement's own answer to a race."""
    environ = {**webob.Request.blank("/allocations/x").environ,
               "REQUEST_METHOD": method}
    with pytest.raises(expected) as caught:
        wrap(Handler(*[oslo_error(CONFLICT)] * 9), attempts=3,
             refuse=placement._concurrent_update(placement_handler))(
            environ, None, None)
    if expected is webob.exc.HTTPConflict:
        environ["HTTP_ACCEPT"] = "application/json"
        statuses = []
        body, = caught.value(
            environ, lambda status, headers: statuses.append(status))
        assert statuses == ["409 Conflict"]
        error, = json.loads(body)["errors"]
        assert "ask again" in error["detail"]
        assert environ[placement_handler.util.ENV_ERROR_CODE] == (
            "placement.concurrent_update")


def test_register_replaces_once(monkeypatch):
    handler = Handler()
    module = types.ModuleType("placement.handler")
    module.dispatch = lambda *args: handler(*args)
    module.webob = types.SimpleNamespace(exc=types.SimpleNamespace(
        HTTPError=Refused))
    module.exception = types.SimpleNamespace(_BaseException=Refused)
    monkeypatch.setitem(sys.modules, "placement.handler", module)
    placement.register()
    replaced = module.dispatch
    placement.register()
    assert module.dispatch is replaced
    assert replaced(ENVIRON, None, None) == [b"done"]


def test_register_without_placement(monkeypatch):
    monkeypatch.delitem(sys.modules, "placement.handler", raising=False)
    placement.register()
    assert "placement.handler" not in sys.modules


def test_body_can_be_read_again():
    """What makes it sound: webob keeps a body that was read."""
    import webob.dec

    seen = []

    @webob.dec.wsgify
    def application(request):
        seen.append(request.body)
        if len(seen) == 1:
            raise oslo_error(CONFLICT)
        return b"done"

    def dispatch(environ, start_response, mapper):
        return application(environ, start_response)

    environ = {
        "REQUEST_METHOD": "PUT", "PATH_INFO": "/", "SERVER_NAME": "x",
        "SERVER_PORT": "80", "wsgi.url_scheme": "http",
        "CONTENT_LENGTH": "3", "wsgi.input": io.BytesIO(b"abc")}
    placement.replayed(dispatch, sleep=lambda seconds: None)(
        environ, lambda *args: None, None)
    assert seen == [b"abc", b"abc"]


# Where replicas are read.

class Refusing:
    """Refuses what rests on reads that lag."""

    def __init__(self, raises=False):
        self.raises = raises
        self.calls = 0

    def __call__(self, environ, start_response, mapper):
        self.calls += 1
        if not databases.may_lag():
            start_response("204 No Content", [])
            return [b""]
        if self.raises:
            raise Refused
        start_response("409 Conflict", [])
        return [b"a generation differs"]


def _ask(handler, method):
    """Return the body and the statuses that the client gets."""
    statuses = []
    body = placement.replayed(handler, refusals=Refused)(
        {"REQUEST_METHOD": method},
        lambda status, headers: statuses.append(status), None)
    return body, statuses


@pytest.fixture
def may_lag(monkeypatch):
    monkeypatch.setattr(databases, "_databases", {
        "x": types.SimpleNamespace(may_lag=True)})


@pytest.mark.parametrize("raises", [False, True])
def test_a_refusal_is_not_believed(may_lag, raises):
    handler = Refusing(raises)
    assert _ask(handler, "PUT") == ([b""], ["204 No Content"])
    assert handler.calls == 2
    assert databases.may_lag()


def test_who_reads_is_told_what_is_near(may_lag):
    handler = Refusing()
    assert _ask(handler, "GET") == (
        [b"a generation differs"], ["409 Conflict"])
    assert handler.calls == 1


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_what_may_not_be_repeated_reads_masters(may_lag, method):
    handler = Refusing()
    assert _ask(handler, method) == ([b""], ["204 No Content"])
    assert handler.calls == 1


def test_what_masters_refuse_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(databases, "_databases", {})

    def dispatch(environ, start_response, mapper):
        calls.append(environ)
        raise Refused

    calls = []
    with pytest.raises(Refused):
        _ask(dispatch, "PUT")
    assert len(calls) == 1


def test_a_real_refusal_is_answered_by_masters(may_lag):
    def dispatch(environ, start_response, mapper):
        behind = databases.may_lag()
        start_response("409 Conflict", [])
        return [b"near" if behind else b"master"]

    assert _ask(dispatch, "PUT") == ([b"master"], ["409 Conflict"])
