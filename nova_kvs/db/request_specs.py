# SPDX-License-Identifier: Apache-2.0
"""Request specs: what the scheduler was asked for a server.

:source: nova.objects.request_spec
"""

from nova.db.api import models
from nova import exception

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

SPECS = rows.table(models.RequestSpec)
_ONE = "nova.objects.request_spec:RequestSpec."


def _get(s, instance_uuid):
    row = s.first(SPECS, instance_uuid=instance_uuid)
    if row is None:
        raise exception.RequestSpecNotFound(instance_uuid=instance_uuid)
    return row


@native.api_reader(_ONE + "_get_by_instance_uuid_from_db")
def _get_by_instance_uuid_from_db(s, context, instance_uuid):
    return _get(s, instance_uuid)


@native.api_reader(_ONE + "_get_by_instance_uuids_from_db")
def _get_by_instance_uuids_from_db(s, context, instance_uuids):
    return s.all(SPECS, instance_uuid=session.In(tuple(instance_uuids)))


@native.api_writer(_ONE + "_create_in_db")
def _create_in_db(s, context, updates):
    return s.insert(SPECS, updates)


@native.api_writer(_ONE + "_save_in_db")
def _save_in_db(s, context, instance_uuid, updates):
    row = _get(s, instance_uuid)
    s.update(row, updates)
    return row


@native.api_writer(_ONE + "_destroy_in_db")
def _destroy_in_db(s, context, instance_uuid):
    if not s.delete(s.all(SPECS, instance_uuid=instance_uuid)):
        raise exception.RequestSpecNotFound(instance_uuid=instance_uuid)


@native.api_writer(_ONE + "_destroy_bulk_in_db")
def _destroy_bulk_in_db(s, context, instance_uuids):
    return s.delete(s.all(SPECS, instance_uuid=session.In(
        tuple(instance_uuids))))
