# SPDX-License-Identifier: Apache-2.0
"""PUT, POST and DELETE of allocations, each in one transaction.

What would be refused, or is rare, is left to Placement's own functions, which
then do all of it: so errors, and what is stored in spite of them, are theirs.

Invariant: no provider gives out more than it has. Whatever adds to a
provider's allocations, or changes its inventory, raises its generation in the
same commit. A claim raises it, too, from the one that it has read. What it
has summed up may be older than that, so it is compared after that, before
the commit point. The commit then finds the generation unchanged only if
nobody has added anything since the comparison.
"""

import collections
import uuid

import jsonschema
from oslo_serialization import jsonutils
from oslo_utils import timeutils
from oslo_utils import uuidutils
from placement import exception
from placement import microversion
from placement.policies import allocation as policies
from placement.schemas import allocation as schemas
from placement import util

from nova_kvs.db.placement import allocations
from nova_kvs.db.placement import attributes
from nova_kvs.db.placement import native
from nova_kvs.db.placement import overview
from nova_kvs.db.placement import tables
from nova_kvs.db import session as sessions

find = sessions.find
In = sessions.In
_HANDLERS = "placement.handlers.allocation:"
#: Before this microversion claims do not name their consumer's generation.
_NAMES_GENERATION = (1, 28)
_NAMES_TYPE = (1, 38)

#: Id of a schema -> itself and its validator.
_validators = {}


def _context_of(req):
    return req.environ["placement.context"]


def _version_of(req):
    return req.environ[microversion.MICROVERSION_ENVIRON]


def _body(req, schema):
    """Return the body of a request, or give way if it is not as it must be.

    Placement makes a validator each time and checks the schema with it, which
    takes more than all the rest of a request.
    """
    known = _validators.get(id(schema))
    if known is None:
        # The schema is kept, so that no other one gets its id.
        known = _validators[id(schema)] = schema, (
            jsonschema.validators.validator_for(schema)(
                schema, format_checker=jsonschema.FormatChecker()))
    try:
        body = jsonutils.loads(req.body)
    except ValueError:
        raise native.Fallback() from None
    if not known[1].is_valid(body):
        raise native.Fallback()
    return body


def _done(req):
    """Return the response to a request that has succeeded."""
    req.response.status = 204
    req.response.content_type = None
    return req.response


@native.writer(_HANDLERS + "_set_allocations_for_consumer",
               context_of=_context_of)
def put(database, req, schema):
    """Answer a PUT of one consumer's allocations.

    :source: placement.handlers.allocation._set_allocations_for_consumer
    """
    context = _context_of(req)
    context.can(policies.ALLOC_UPDATE)
    version = _version_of(req)
    consumer = util.wsgi_path_item(req.environ, "consumer_uuid")
    if not version.matches(_NAMES_GENERATION) or (
            not uuidutils.is_uuid_like(consumer)):
        raise native.Fallback()
    native.run(database, _Claim(
        context, {str(uuid.UUID(consumer)): _body(req, schema)},
        version.matches(_NAMES_TYPE)).write)
    return _done(req)


@native.writer(_HANDLERS + "set_allocations", context_of=_context_of)
def post(database, req):
    """Answer a POST of several consumers' allocations.

    :source: placement.handlers.allocation.set_allocations
    """
    context = _context_of(req)
    version = _version_of(req)
    if not version.matches(_NAMES_GENERATION) or (
            req.content_type != "application/json"):
        raise native.Fallback()
    context.can(policies.ALLOC_MANAGE)
    schema = schemas.POST_ALLOCATIONS_V1_28
    if version.matches((1, 34)):
        schema = schemas.POST_ALLOCATIONS_V1_34
    if version.matches(_NAMES_TYPE):
        schema = schemas.POST_ALLOCATIONS_V1_38
    native.run(database, _Claim(
        context, _body(req, schema),
        version.matches(_NAMES_TYPE)).write)
    return _done(req)


@native.writer(_HANDLERS + "delete_allocations", context_of=_context_of)
def delete(database, req):
    """Answer a DELETE of one consumer's allocations.

    :source: placement.handlers.allocation.delete_allocations
    """
    context = _context_of(req)
    context.can(policies.ALLOC_DELETE)
    consumer = util.wsgi_path_item(req.environ, "consumer_uuid")

    def drop(session):
        found, records, consumers = allocations.of_consumer(
            session, None, consumer)
        if not found:
            raise native.Fallback()
        ids = {one["id"] for one in found}
        rows = session.rows(tables.ALLOCATIONS, records)
        session.delete([row for row in rows if row.id in ids])
        if len(rows) == len(ids):
            session.delete(session.rows(tables.CONSUMERS, consumers))

    native.run(database, drop)
    return _done(req)


def _of_consumers(uuids):
    """Return what finds the allocations of consumers, and themselves."""
    return (find(tables.ALLOCATIONS, consumer_id=In(uuids)),
            find(tables.CONSUMERS, uuid=In(uuids)))


class _Claim:
    """The allocations that some consumers get instead of theirs.

    :param bodies: consumer's UUID -> what is asked for it, valid by the
        schema.
    :param has_types: whether they name types of consumers.
    """

    def __init__(self, context, bodies, has_types):
        self._context = context
        self._bodies = bodies
        self._has_types = has_types

    def write(self, session):
        """Replace what the consumers have, in a transaction.

        :raises nova_kvs.db.errors.Fallback: if that would be refused, or
            cannot be done like this.
        """
        self._session = session
        loaded = self._load()
        asked = {consumer: self._asked(consumer, body)
                 for consumer, body in self._bodies.items()}
        self._take_providers({
            one[0] for some in asked.values() for one in some}, *loaded)
        self._check([one for some in asked.values() for one in some])
        self._rows = {consumer: [] for consumer in self._bodies}
        for consumer, body in self._bodies.items():
            before = self._before[consumer]
            session.delete(before)
            self._write_consumer(consumer, body)
            for number, class_id, used in asked[consumer]:
                if used:
                    self._rows[consumer].append(session.insert(
                        tables.ALLOCATIONS, {
                            "resource_provider_id": number,
                            "resource_class_id": class_id,
                            "consumer_id": consumer, "used": used}))
        for row in self._providers.values():
            session.update_all([row], {"generation": row.generation + 1})
        projects, users = self._owners
        for consumer, body in self._bodies.items():
            allocations.expect(
                session, consumer, self._rows[consumer],
                projects[body["project_id"]], users[body["user_id"]])

    # Reading ----------------------------------------------------------------

    def _load(self):
        """Load everything, but for providers that are not remembered.

        :returns: the ids of the providers that are, and the Records of what
            ``_of_providers`` finds of them.
        """
        session = self._session
        bodies = self._bodies
        uuids = tuple(dict.fromkeys(
            provider for body in bodies.values()
            for provider in body["allocations"]))
        self._ids = ids = tables.memory(session, "ids")
        known = tables.memory(session, "consumers")
        expected = tuple({
            *[ids[one] for one in uuids if one in ids],
            *[number for consumer in bodies if consumer in known
              for number in known[consumer][0]]})
        named = [find(table, external_id=In(tuple(dict.fromkeys(
            body[name] for body in bodies.values()))))
            for table, name in ((tables.PROJECTS, "project_id"),
                                (tables.USERS, "user_id"))]
        if self._has_types:
            named.append(find(tables.CONSUMER_TYPES))
        found = attributes.load(
            session, self._context, ("rc_cache",),
            *_of_consumers(tuple(bodies)),
            find(tables.PROVIDERS, uuid=In(uuids)),
            *self._of_providers(expected), *named)
        mine = session.rows(tables.ALLOCATIONS, found[0])
        self._before = {consumer: [
            row for row in mine if row.consumer_id == consumer]
            for consumer in bodies}
        self._consumers = {row.uuid: row for row in session.rows(
            tables.CONSUMERS, found[1])}
        for record in found[2]:
            ids[record.values["uuid"]] = record.key[0]
        self._number_of = {record.values["uuid"]: record.key[0]
                           for record in found[2]}
        projects, users, *types = found[6:]
        self._owners = [
            {record.values["external_id"]: record.key[0]
             for record in records} for records in (projects, users)]
        self._types = {record.values["name"]: record.key[0]
                       for records in types for record in records}
        return expected, *found[3:6]

    @staticmethod
    def _of_providers(numbers):
        """Return what finds all that a claim on providers looks at."""
        return (find(tables.PROVIDERS, id=In(numbers)),
                find(tables.INVENTORIES, resource_provider_id=In(numbers)),
                find(tables.ALLOCATIONS, resource_provider_id=In(numbers)))

    def _take_providers(self, numbers, loaded, *found):
        """Take the providers that change, loaded where they were not.

        :param numbers: their ids.
        :param loaded: as ``_load`` returns it, like the others.
        """
        session = self._session
        if not numbers.issubset(loaded):
            found = session.records(*self._of_providers(tuple(numbers)))
        providers, inventories, _used = [
            [record for record in records if record.values[name] in numbers]
            for records, name in zip(found, (
                "id", "resource_provider_id", "resource_provider_id"))]
        self._providers = {row.id: row for row in session.rows(
            tables.PROVIDERS, providers)}
        if len(self._providers) < len(numbers) or any(
                None in (row.generation, row.root_provider_id)
                for row in self._providers.values()):
            raise native.Fallback()
        self._inventories = {
            (values["resource_provider_id"], values["resource_class_id"]):
            values for values in map(tables.INVENTORIES.values, inventories)}
        session.compare(tables.INVENTORIES)
        session.compare(tables.ALLOCATIONS, numbers)

    # What is asked for ------------------------------------------------------

    def _asked(self, consumer, body):
        """Return (provider's id, class's id, amount) of all of it.

        As in Placement, of a consumer that shall have nothing it is nothing
        of each that it has.
        """
        if not body["allocations"]:
            if not self._before[consumer]:
                raise native.Fallback()
            return [(row.resource_provider_id, row.resource_class_id, 0)
                    for row in self._before[consumer]]
        try:
            return [
                (self._number_of[provider],
                 self._context.rc_cache.id_from_string(name), used)
                for provider, some in body["allocations"].items()
                for name, used in some["resources"].items()]
        except (KeyError, exception.ResourceClassNotFound):
            raise native.Fallback() from None

    def _check(self, asked):
        """Give way unless the providers have what is asked for.

        :source: placement.objects.allocation._check_capacity_exceeded
        """
        classes = {class_id for _number, class_id, _used in asked}
        having = {number for number, class_id in self._inventories
                  if class_id in classes}
        if not having.issuperset(self._providers):
            raise native.Fallback()
        needed = collections.Counter()
        for number, class_id, used in asked:
            needed[number, class_id] += used
            if not used:
                continue
            one = self._inventories.get((number, class_id))
            if one is None or used < one["min_unit"] or (
                    used > one["max_unit"] or used % one["step_size"]):
                raise native.Fallback()
        for rows in self._before.values():
            for row in rows:
                needed[row.resource_provider_id,
                       row.resource_class_id] -= row.used
        sums = overview.usages(self._session, list(self._providers))
        for number, class_id, used in asked:
            if used:
                one = self._inventories[number, class_id]
                capacity = ((one["total"] - one["reserved"])
                            * one["allocation_ratio"])
                if capacity < (sums[number].get(class_id, 0)
                               + needed[number, class_id]):
                    raise native.Fallback()

    # Consumers --------------------------------------------------------------

    def _owner(self, position, table, external_id):
        """Return the id of a project or user, which is made if need be."""
        ids = self._owners[position]
        if external_id not in ids:
            ids[external_id] = self._session.insert(
                table, {"external_id": external_id}).id
        return ids[external_id]

    def _write_consumer(self, uuid_, body):
        """Make a consumer, or change or delete the one that is there."""
        session = self._session
        owners = (
            self._owner(0, tables.PROJECTS, body["project_id"]),
            self._owner(1, tables.USERS, body["user_id"]))
        kind = None
        if self._has_types:
            kind = self._types.get(body["consumer_type"])
            if kind is None:
                raise native.Fallback()
        row = self._consumers.get(uuid_)
        if body["consumer_generation"] != (
                None if row is None else row.generation):
            raise native.Fallback()
        if row is None:
            # Placement adds it, and raises its generation afterwards.
            session.insert(tables.CONSUMERS, {
                "uuid": uuid_, "project_id": owners[0], "user_id": owners[1],
                "consumer_type_id": kind, "generation": 1,
                "updated_at": timeutils.utcnow()})
        elif (row.project_id, row.user_id) != owners:
            raise native.Fallback()
        elif body["allocations"]:
            values = {"generation": row.generation + 1}
            if kind is not None:
                values["consumer_type_id"] = kind
            session.update_all([row], values)
        else:
            session.delete([row])
