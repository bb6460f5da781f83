# SPDX-License-Identifier: Apache-2.0
"""Host mappings: in which cell a compute host is.

:source: nova.objects.host_mapping
"""

from nova.db.api import models
from nova import exception

from nova_kvs.db import cell_mappings
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

HOSTS = rows.table(models.HostMapping)
CELLS = cell_mappings.CELLS
_ONE = "nova.objects.host_mapping:HostMapping."


def _load(s, **equal):
    mappings, cells = s.load(session.Find(HOSTS, equal),
                             session.find(CELLS))
    return cell_mappings.attach(mappings, cells), cells


@native.api_reader(_ONE + "_get_by_host_from_db")
def _get_by_host_from_db(s, context, host):
    found, _cells = _load(s, host=host)
    if not found:
        raise exception.HostMappingNotFound(name=host)
    return found[0]


@native.api_writer(_ONE + "_create_in_db")
def _create_in_db(s, context, updates):
    cells = s.all(CELLS)
    row = s.insert(HOSTS, updates)
    return cell_mappings.attach([row], cells)[0]


@native.api_writer(_ONE + "_save_in_db")
def _save_in_db(s, context, obj, updates):
    found, cells = _load(s, id=obj.id)
    if not found:
        raise exception.HostMappingNotFound(name=obj.host)
    s.update(found[0], updates)
    return cell_mappings.attach(found, cells)[0]


@native.api_writer(_ONE + "_destroy_in_db")
def _destroy_in_db(s, context, host):
    if not s.delete(s.all(HOSTS, host=host)):
        raise exception.HostMappingNotFound(name=host)


@native.api_reader("nova.objects.host_mapping:HostMappingList._get_from_db")
def _get_from_db(s, context, cell_id=None):
    equal = {"cell_id": cell_id} if cell_id else {}
    return _load(s, **equal)[0]
