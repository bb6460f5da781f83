# SPDX-License-Identifier: Apache-2.0
"""Instance mappings: in which cell a server is.

:source: nova.objects.instance_mapping
"""

from nova.db.api import models
from nova import exception

from nova_kvs.db import cell_mappings
from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import pages
from nova_kvs.db import rows
from nova_kvs.db import session

MAPPINGS = rows.table(models.InstanceMapping)
CELLS = cell_mappings.CELLS
_ONE = "nova.objects.instance_mapping:InstanceMapping."
_LIST = "nova.objects.instance_mapping:InstanceMappingList."


def _load(s, **equal):
    mappings, cells = s.load(session.Find(MAPPINGS, equal),
                             session.find(CELLS))
    return cell_mappings.attach(mappings, cells)


@native.api_reader(_ONE + "_get_by_instance_uuid_from_db")
def _get_by_instance_uuid_from_db(s, context, instance_uuid):
    found = _load(s, instance_uuid=instance_uuid)
    if not found:
        raise exception.InstanceMappingNotFound(uuid=instance_uuid)
    return found[0]


@native.api_writer(_ONE + "_create_in_db")
def _create_in_db(s, context, updates):
    cells = s.all(CELLS) if updates.get("cell_id") is not None else []
    row = s.insert(MAPPINGS, updates)
    return cell_mappings.attach([row], cells)[0]


@native.api_writer(_ONE + "_save_in_db", may_lag=True)
def _save_in_db(s, context, instance_uuid, updates):
    mappings = s.all(MAPPINGS, instance_uuid=instance_uuid)
    if not mappings:
        raise exception.InstanceMappingNotFound(uuid=instance_uuid)
    s.update(mappings[0], updates)
    cells, = s.commit(session.find(CELLS))
    return cell_mappings.attach(mappings, cells)[0]


@native.api_writer(_ONE + "_destroy_in_db")
def _destroy_in_db(s, context, instance_uuid):
    if not s.delete(s.all(MAPPINGS, instance_uuid=instance_uuid)):
        raise exception.InstanceMappingNotFound(uuid=instance_uuid)


@native.api_reader(_LIST + "_get_by_project_id_from_db")
def _get_by_project_id_from_db(s, context, project_id):
    return _load(s, project_id=project_id)


@native.api_reader(_LIST + "_get_by_cell_id_from_db")
def _get_by_cell_id_from_db(s, context, cell_id):
    return _load(s, cell_id=cell_id)


@native.api_reader(_LIST + "_get_by_instance_uuids_from_db")
def _get_by_instance_uuids_from_db(s, context, uuids):
    return _load(s, instance_uuid=session.In(tuple(uuids)))


@native.api_writer(_LIST + "_destroy_bulk_in_db")
def _destroy_bulk_in_db(s, context, instance_uuids):
    return s.delete(s.all(MAPPINGS, instance_uuid=session.In(
        tuple(instance_uuids))))


@native.api_reader(_LIST + "_get_not_deleted_by_cell_and_project_from_db")
def _get_not_deleted_by_cell_and_project_from_db(s, context, cell_uuid,
                                                 project_id, limit):
    def test(stored):
        return not stored.get("queued_for_delete")

    if project_id is None:
        cells = s.all(CELLS)
        mappings = s.rows(MAPPINGS, [
            record for cell_id in _ids_of(cells, cell_uuid)
            for record in pages.some(s, session.find(
                MAPPINGS, test, cell_id=cell_id), limit)])
    else:
        mappings, cells = s.load(
            session.find(MAPPINGS, test, project_id=project_id),
            session.find(CELLS))
    ids = _ids_of(cells, cell_uuid)
    found = [mapping for mapping in mappings if mapping.cell_id in ids]
    return matching.limited(cell_mappings.attach(found, cells), limit)


def _ids_of(cells, cell_uuid):
    """Return the ids of the cells that have a UUID: one or none."""
    return tuple(cell.id for cell in cells if cell.uuid == cell_uuid)


@native.api_reader(_LIST + "_get_counts_in_db")
def _get_counts_in_db(s, context, project_id, user_id=None):
    records = s.records(session.find(
        MAPPINGS, queued_for_delete=False, project_id=project_id),
        table_only=True)[0]
    counts = {"project": {"instances": len(records)}}
    if user_id:
        counts["user"] = {"instances": sum(
            record.values.get("user_id") == user_id for record in records)}
    return counts


@native.api_reader(_LIST + "_get_count_by_uuids_and_user_in_db")
def _get_count_by_uuids_and_user_in_db(s, context, uuids, user_id):
    return s.count(MAPPINGS, instance_uuid=session.In(tuple(uuids)),
                   queued_for_delete=False, user_id=user_id)
