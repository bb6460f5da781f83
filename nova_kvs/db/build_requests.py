# SPDX-License-Identifier: Apache-2.0
"""Build requests: servers that no cell has yet.

:source: nova.objects.build_request
"""

from nova.db.api import models
from nova import exception

from nova_kvs.db import native
from nova_kvs.db import rows

REQUESTS = rows.table(models.BuildRequest)
_ONE = "nova.objects.build_request:BuildRequest."


@native.api_reader(_ONE + "_get_by_instance_uuid_from_db")
def _get_by_instance_uuid_from_db(s, context, instance_uuid):
    row = s.first(REQUESTS, instance_uuid=instance_uuid)
    if row is None:
        raise exception.BuildRequestNotFound(uuid=instance_uuid)
    return row


@native.api_writer(_ONE + "_create_in_db")
def _create_in_db(s, context, updates):
    return s.insert(REQUESTS, updates)


@native.api_writer(_ONE + "_destroy_in_db", may_lag=True)
def _destroy_in_db(s, context, instance_uuid):
    if not s.delete(s.all(REQUESTS, instance_uuid=instance_uuid)):
        raise exception.BuildRequestNotFound(uuid=instance_uuid)


@native.api_reader(
    "nova.objects.build_request:BuildRequestList._get_all_from_db")
def _get_all_from_db(s, context):
    equal = {} if context.is_admin else {"project_id": context.project_id}
    return s.all(REQUESTS, **equal)
