# SPDX-License-Identifier: Apache-2.0
"""Key pairs.

:source: nova.objects.keypair
"""

from nova.db.api import models
from nova import exception
from oslo_db import exception as db_exc

from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

KEY_PAIRS = rows.table(models.KeyPair)
_MODULE = "nova.objects.keypair:"


@native.api_reader(_MODULE + "_get_from_db")
def _get_from_db(s, context, user_id, name=None, limit=None, marker=None):
    if name is not None:
        row = s.first(KEY_PAIRS, user_id=user_id, name=name)
        if row is None:
            raise exception.KeypairNotFound(user_id=user_id, name=name)
        return row
    records = s.records(session.find(KEY_PAIRS, user_id=user_id))[0]
    if marker is not None:
        if not any(record.values["name"] == marker for record in records):
            raise exception.MarkerNotFound(marker=marker)
        records = [record for record in records
                   if record.values["name"] > marker]
    matching.sort(records, ["name"], ["asc"])
    return [KEY_PAIRS.row(record)
            for record in matching.limited(records, limit)]


@native.api_reader(_MODULE + "_get_count_from_db")
def _get_count_from_db(s, context, user_id):
    return s.count(KEY_PAIRS, user_id=user_id)


@native.api_writer(_MODULE + "_create_in_db")
def _create_in_db(s, context, values):
    row = s.insert(KEY_PAIRS, values)
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        raise exception.KeyPairExists(key_name=values["name"])
    return row


@native.api_writer(_MODULE + "_destroy_in_db")
def _destroy_in_db(s, context, user_id, name):
    if not s.delete(s.all(KEY_PAIRS, user_id=user_id, name=name)):
        raise exception.KeypairNotFound(user_id=user_id, name=name)
