# SPDX-License-Identifier: Apache-2.0
"""Consumers, projects and users, as whoever allocates looks them up."""

from placement import exception

from nova_kvs.db.placement import native
from nova_kvs.db.placement import tables
from nova_kvs.db import session as sessions

find = sessions.find
In = sessions.In
_OWNER = ("id", "external_id", "updated_at", "created_at")


def _owner(session, table, external_id):
    """Return a project or user as a dict, or None."""
    records, = session.records(find(table, external_id=external_id))
    if not records:
        return None
    values = table.values(records[0])
    return {name: values[name] for name in _OWNER}


@native.reader("placement.objects.project:_get_project_by_external_id")
def get_project(session, ctx, external_id):
    """Return a project as a dict.

    :raises placement.exception.ProjectNotFound: if there is none.
    :source: placement.objects.project._get_project_by_external_id
    """
    found = _owner(session, tables.PROJECTS, external_id)
    if found is None:
        raise exception.ProjectNotFound(external_id=external_id)
    return found


@native.reader("placement.objects.user:_get_user_by_external_id")
def get_user(session, ctx, external_id):
    """Return a user as a dict.

    :raises placement.exception.UserNotFound: if there is none.
    :source: placement.objects.user._get_user_by_external_id
    """
    found = _owner(session, tables.USERS, external_id)
    if found is None:
        raise exception.UserNotFound(external_id=external_id)
    return found


@native.reader("placement.objects.consumer:_get_consumer_by_uuid")
def get_consumer(session, ctx, uuid):
    """Return a consumer, with its project and user, as a dict.

    :raises placement.exception.ConsumerNotFound: if there is none.
    :source: placement.objects.consumer._get_consumer_by_uuid
    """
    memory = tables.memory(session, "owners")
    expected = memory.get(uuid, (None, None))
    consumers, *owners = session.records(
        find(tables.CONSUMERS, uuid=uuid), *_finds(expected))
    if not consumers:
        raise exception.ConsumerNotFound(uuid=uuid)
    consumer = tables.CONSUMERS.values(consumers[0])
    wanted = consumer["project_id"], consumer["user_id"]
    if wanted != expected:
        owners = session.records(*_finds(wanted))
        memory[uuid] = wanted
    if not all(owners):
        raise exception.ConsumerNotFound(uuid=uuid)
    project, user = [records[0].values for records in owners]
    return {
        "id": consumer["id"], "uuid": consumer["uuid"],
        "consumer_type_id": consumer["consumer_type_id"],
        "project_id": project["id"],
        "project_external_id": project["external_id"],
        "user_id": user["id"], "user_external_id": user["external_id"],
        "generation": consumer["generation"],
        "updated_at": consumer["updated_at"],
        "created_at": consumer["created_at"]}


def _finds(ids):
    """Return what finds the project and the user of some ids."""
    return [find(table, id=In(() if number is None else (number,)))
            for table, number in zip((tables.PROJECTS, tables.USERS), ids)]
