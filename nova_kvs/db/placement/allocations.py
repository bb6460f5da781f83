# SPDX-License-Identifier: Apache-2.0
"""Allocations: of which provider, by which consumer.

A global index finds an allocation by its consumer. It names its provider and
its resource class, and the consumer names its project and user. So that one
round trip is enough, what they named the last time is read along, and what
they name now if that is something else.
"""

from nova_kvs.db.placement import attributes
from nova_kvs.db.placement import native
from nova_kvs.db.placement import tables
from nova_kvs.db import session as sessions
from nova_kvs.record.indexes import global_index

find = sessions.find
In = sessions.In
_MODULE = "placement.objects.allocation:"
_NOTHING = ((), (), (), ())


class _Owners:
    """Projects, users and classes, and maybe providers, by id.

    :ivar known: for each table {id: values, or None if there is no such row}.
    """

    _TABLES = (tables.PROVIDERS, tables.PROJECTS, tables.USERS,
               tables.RESOURCE_CLASSES)

    def __init__(self, session):
        self._session = session
        self.known = [{} for _table in self._TABLES]
        self._asked = ()

    def due(self, wanted):
        """Return the accesses to make for what is not known, for ``take``.

        :param wanted: (ids of providers, of projects, of users, of resource
            classes).
        """
        asked = self._asked = []
        for table, known, ids in zip(self._TABLES, self.known, wanted):
            missing = set(ids).difference(known, (None,))
            if missing:
                known.update(tables.lasting(self._session, table, missing))
                missing.difference_update(known)
                if missing:
                    asked.append((table, known, tuple(missing)))
        return [tables.by_ids(self._session, table, ids)
                for table, _known, ids in asked]

    def take(self, answers):
        """Take what the accesses of ``due`` found."""
        for (table, known, ids), records in zip(self._asked, answers):
            found = tables.by_key(records, table)
            tables.keep_lasting(self._session, table, found)
            known.update({number: found.get(number) for number in ids})

    def complete(self, *wanted):
        """Load what was not prefetched.

        :returns: ``known``.
        """
        accesses = self.due(wanted)
        if accesses:
            self.take(self._session.transaction.load(accesses))
        return self.known


def _load(session, owners, expected, *finds):
    """Load finds, and the owners that are likely wanted, in one batch.

    :param expected: as of ``_Owners.due``.
    :returns: the Records of each find.
    """
    found = session.records(*finds, along=owners.due(expected))
    owners.take(found[len(finds):])
    return found[:len(finds)]


def _classes_of(allocations):
    """Return the ids of the resource classes of allocations."""
    return tuple({values["resource_class_id"] for values in allocations})


@native.reader(_MODULE + "_get_allocations_by_consumer_uuid")
def get_by_consumer(session, ctx, consumer_uuid):
    """Return what a consumer has, as dicts.

    :source: placement.objects.allocation._get_allocations_by_consumer_uuid
    """
    return of_consumer(session, ctx, consumer_uuid)[0]


def expect(session, consumer_uuid, rows, project_id, user_id):
    """Remember what a consumer is going to have, for who asks for that.

    :param rows: Rows of its allocations, which were inserted.
    """
    providers = tuple({row.resource_provider_id for row in rows})
    classes = tuple({row.resource_class_id for row in rows})
    tables.memory(session, "consumers")[consumer_uuid] = (
        providers, (project_id,), (user_id,), classes)
    memory = tables.memory(session, "providers")
    for provider in providers:
        if provider in memory:
            memory[provider] = tuple([
                known if set(known).issuperset(some)
                else tuple({*known, *some}) for known, some
                in zip(memory[provider], (
                    (consumer_uuid,), (project_id,), (user_id,), classes))])
    transaction = session.transaction
    table = session.schema_table(tables.ALLOCATIONS)
    global_index.expect(transaction, table, ("consumer_id",), [
        ((consumer_uuid,), transaction.partition_of_value(
            table, row.resource_provider_id), table.field((row.id,)))
        for row in rows])


def of_consumer(session, ctx, consumer_uuid):
    """Return what a consumer has, as dicts.

    :param ctx: whose cache gets the names of the classes; None if nobody
        asks for them.
    :returns: the dicts, the Records of all its allocations and of itself.
    """
    memory = tables.memory(session, "consumers")
    expected = memory.get(consumer_uuid, _NOTHING)
    owners = _Owners(session)
    records, consumers = _load(
        session, owners, expected,
        find(tables.ALLOCATIONS, consumer_id=consumer_uuid),
        find(tables.CONSUMERS, uuid=consumer_uuid))
    if not records or not consumers:
        return [], records, consumers
    consumer = tables.CONSUMERS.values(consumers[0])
    allocations = [tables.ALLOCATIONS.values(record) for record in records]
    wanted = (
        tuple({values["resource_provider_id"] for values in allocations}),
        (consumer["project_id"],), (consumer["user_id"],),
        () if ctx is None else _classes_of(allocations))
    providers, projects, users, classes = owners.complete(*wanted)
    if ctx is not None:
        attributes.fill_names(ctx.rc_cache, classes)
        if wanted != expected:
            memory[consumer_uuid] = wanted
    project = projects.get(consumer["project_id"])
    user = users.get(consumer["user_id"])
    if project is None or user is None:
        return [], records, consumers
    result = []
    for values in allocations:
        provider = providers.get(values["resource_provider_id"])
        if provider is not None:
            result.append({
                "id": values["id"],
                "resource_provider_id": values["resource_provider_id"],
                "resource_provider_name": provider["name"],
                "resource_provider_uuid": provider["uuid"],
                "resource_provider_generation": provider["generation"],
                "resource_class_id": values["resource_class_id"],
                "used": values["used"],
                "consumer_id": consumer["id"],
                "consumer_generation": consumer["generation"],
                "consumer_type_id": consumer["consumer_type_id"],
                "consumer_uuid": consumer["uuid"],
                "project_id": project["id"],
                "project_external_id": project["external_id"],
                "user_id": user["id"],
                "user_external_id": user["external_id"],
                "created_at": values["created_at"],
                "updated_at": values["updated_at"]})
    return result, records, consumers


@native.reader(_MODULE + "_get_allocations_by_provider_id")
def get_by_provider(session, ctx, rp_id):
    """Return what is allocated of a provider, as dicts.

    :source: placement.objects.allocation._get_allocations_by_provider_id
    """
    memory = tables.memory(session, "providers")
    expected = memory.get(rp_id, _NOTHING)
    owners = _Owners(session)
    records, consumers = _load(
        session, owners, ((), *expected[1:]),
        find(tables.ALLOCATIONS, resource_provider_id=rp_id),
        find(tables.CONSUMERS, uuid=In(expected[0])))
    allocations = [tables.ALLOCATIONS.values(record) for record in records]
    uuids = tuple(dict.fromkeys(
        [values["consumer_id"] for values in allocations]))
    if not set(expected[0]).issuperset(uuids):
        consumers, = session.records(
            find(tables.CONSUMERS, uuid=In(uuids)))
    by_uuid = {record.values["uuid"]: tables.CONSUMERS.values(record)
               for record in consumers}
    project_ids, user_ids = (
        tuple({by_uuid[uuid][name] for uuid in uuids if uuid in by_uuid})
        for name in ("project_id", "user_id"))
    class_ids = _classes_of(allocations)
    _providers, projects, users, classes = owners.complete(
        (), project_ids, user_ids, class_ids)
    attributes.fill_names(ctx.rc_cache, classes)
    wanted = uuids, project_ids, user_ids, class_ids
    if wanted != expected:
        memory[rp_id] = wanted
    result = []
    for values in allocations:
        consumer = by_uuid.get(values["consumer_id"])
        if consumer is None:
            continue
        project = projects.get(consumer["project_id"])
        user = users.get(consumer["user_id"])
        if project is not None and user is not None:
            result.append({
                "id": values["id"],
                "resource_class_id": values["resource_class_id"],
                "used": values["used"],
                "updated_at": values["updated_at"],
                "created_at": values["created_at"],
                "consumer_id": consumer["id"],
                "consumer_generation": consumer["generation"],
                "consumer_uuid": consumer["uuid"],
                "project_id": project["id"],
                "project_external_id": project["external_id"],
                "user_id": user["id"],
                "user_external_id": user["external_id"]})
    return result
