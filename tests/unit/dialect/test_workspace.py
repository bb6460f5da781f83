# SPDX-License-Identifier: Apache-2.0
"""What a workspace holds when loading rows fails."""

import functools

import msgpack
import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from nova_kvs.dialect import dbapi
from nova_kvs.record import access
from nova_kvs.record import codec
from tests.unit.dialect import tables

services = tables.Service.__table__


def test_rows_that_cannot_be_loaded_are_never_left_out(
        connection, monkeypatch):
    raw = connection.connection.dbapi_connection
    database = raw.workspace.database
    with monkeypatch.context() as patched:
        # As versions did that stored such text.
        patched.setattr(codec, "encode", functools.partial(
            msgpack.packb, unicode_errors="surrogatepass"))
        transaction = database.begin()
        transaction.insert("services", {"id": 2, "uuid": "\ud800"})
        transaction.commit()
    connection.execute(services.insert(), {"id": 1, "uuid": "u"})
    for _again in range(2):
        with pytest.raises(exc.InternalError):
            connection.execute(sa.select(services)).all()
    with pytest.raises(dbapi.InternalError):
        raw.commit()
    connection.rollback()
    records, = database.begin().load([access.FullScan("services")])
    assert [record.key for record in records] == [(2,)]
