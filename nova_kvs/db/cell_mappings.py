# SPDX-License-Identifier: Apache-2.0
"""Cell mappings.

:source: nova.objects.cell_mapping
"""

from nova.db.api import models
from nova import exception

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

CELLS = rows.table(models.CellMapping)
INSTANCE_MAPPINGS = rows.table(models.InstanceMapping)
_ONE = "nova.objects.cell_mapping:CellMapping."
_LIST = "nova.objects.cell_mapping:CellMappingList."


def attach(mappings, cells):
    """Set the cell mapping of host or instance mappings.

    :param cells: Rows of all cells. They are few, so that whoever needs one
        reads them all in its own batch.
    """
    by_id = {cell.id: cell for cell in cells}
    for mapping in mappings:
        mapping.__dict__["cell_mapping"] = by_id.get(mapping.cell_id)
    return mappings


def _get(s, uuid):
    row = s.first(CELLS, uuid=uuid)
    if row is None:
        raise exception.CellMappingNotFound(uuid=uuid)
    return row


@native.api_reader(_ONE + "_get_by_uuid_from_db")
def _get_by_uuid_from_db(s, context, uuid):
    return _get(s, uuid)


@native.api_writer(_ONE + "_create_in_db")
def _create_in_db(s, context, updates):
    return s.insert(CELLS, updates)


@native.api_writer(_ONE + "_save_in_db")
def _save_in_db(s, context, uuid, updates):
    row = _get(s, uuid)
    s.update(row, updates)
    return row


@native.api_writer(_ONE + "_destroy_in_db")
def _destroy_in_db(s, context, uuid):
    if not s.delete(s.all(CELLS, uuid=uuid)):
        raise exception.CellMappingNotFound(uuid=uuid)


@native.api_reader(_LIST + "_get_all_from_db")
def _get_all_from_db(s, context):
    return s.all(CELLS)


@native.api_reader(_LIST + "_get_by_disabled_from_db")
def _get_by_disabled_from_db(s, context, disabled):
    return s.all(CELLS, disabled=bool(disabled))


@native.api_reader(_LIST + "_get_by_project_id_from_db")
def _get_by_project_id_from_db(s, context, project_id):
    mappings, cells = s.load(
        session.find(INSTANCE_MAPPINGS, project_id=project_id),
        session.find(CELLS))
    ids = {mapping.cell_id for mapping in mappings}
    return [cell for cell in cells if cell.id in ids]
