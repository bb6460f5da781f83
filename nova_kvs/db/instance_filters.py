# SPDX-License-Identifier: Apache-2.0
"""The filters of Nova's list of servers, as equalities and tests.

:source: nova.db.main.api.instance_get_all_by_filters_sort,
    _exact_instance_filter and _regex_instance_filter
"""

import dataclasses
import typing

from nova.compute import vm_states
from nova import conf
from nova.db.main import models

from nova_kvs.db import instance_joins as joins
from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import session
from nova_kvs.record.indexes import entry_columns
from nova_kvs.record import schema

CONF = conf.CONF
INSTANCES = joins.INSTANCES
_EXACT = ("project_id", "user_id", "image_ref", "vm_state",
          "instance_type_id", "uuid", "metadata", "host", "task_state",
          "system_metadata", "locked", "hidden")


@dataclasses.dataclass
class Related:
    """The values of one server that tests of tags and metadata use."""

    tags: set = dataclasses.field(default_factory=set)
    metadata: list = dataclasses.field(default_factory=list)
    system_metadata: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Query:
    """The conditions that the servers of a list satisfy."""

    #: column -> value, None, In or Not.
    equal: dict = dataclasses.field(default_factory=dict)
    #: functions of the stored values.
    tests: list = dataclasses.field(default_factory=list)
    #: As of nova_kvs.db.session.Find.
    ranges: dict | None = None
    #: As of nova_kvs.db.session.Find.
    column_tests: list = dataclasses.field(default_factory=list)
    #: Equalities of one of which a server satisfies all; empty: it need not.
    alternatives: tuple = ()
    #: functions of the stored values and of a Related.
    tags: list = dataclasses.field(default_factory=list)
    #: Tuples of tags: a server has one of each tuple.
    tagged: list = dataclasses.field(default_factory=list)
    #: As of nova_kvs.db.session.Find.
    choose: typing.Any = None

    def test(self, stored):
        """Return whether a server passes all tests but the equalities."""
        return all(test(stored) for test in self.tests) and all(
            test(stored.get(name)) for name, test, _ in self.column_tests)

    def find(self, more=()):
        """Return the Find of all but the tests of tags.

        :param more: equalities that hold, too.
        """
        return session.Find(
            INSTANCES, {**self.equal, **dict(more)}, self.test, self.ranges,
            tuple(self.column_tests), self.choose)


def parse(context, filters):
    """Return the Query of Nova's filters, or None if nothing can match.

    :param filters: dict; it is used up.
    :raises nova_kvs.db.native.Fallback: for filters it does not know.
    """
    query = Query(ranges=matching.changes_ranges(INSTANCES, filters))
    query.tests.extend(matching.changes_tests(INSTANCES, filters))
    _deleted(query, filters)
    if "cleaned" in filters:
        query.equal["cleaned"] = 1 if filters.pop("cleaned") else 0
    _tags(query, filters)
    if not context.is_admin:
        if context.project_id:
            filters["project_id"] = context.project_id
        else:
            filters["user_id"] = context.user_id
    if filters.pop("hidden", False):
        query.tests.append(lambda stored: stored.get("hidden") == 1)
    else:
        query.tests.append(lambda stored: not stored.get("hidden"))
    if not _exact(query, filters):
        return None
    _regex(query, filters)
    return query


def _deleted(query, filters):
    if "deleted" not in filters:
        return
    soft = vm_states.SOFT_DELETED
    if filters.pop("deleted"):
        if filters.pop("soft_deleted", True):
            query.tests.append(
                lambda stored: stored.get("deleted") == stored["id"]
                or stored.get("vm_state") == soft)
            query.alternatives = ({"deleted": session.Not((0,))},
                                  {"vm_state": soft})
        else:
            query.equal["deleted"] = session.Not((0,))
            query.tests.append(
                lambda stored: stored.get("deleted") == stored["id"])
    else:
        query.equal["deleted"] = 0
        if not filters.pop("soft_deleted", False):
            query.tests.append(
                lambda stored: stored.get("vm_state") != soft)


def _live_tags(stored, related):
    # models.Instance.tags: a deleted server has none.
    return related.tags if stored.get("deleted") == 0 else ()


def _tags(query, filters):
    if "tags" in filters:
        wanted = _wanted(filters, "tags", False)
        query.tagged.extend((tag,) for tag in wanted)
        query.tags.append(
            lambda stored, related, wanted=wanted:
            all(tag in _live_tags(stored, related) for tag in wanted))
    if "tags-any" in filters:
        any_of = _wanted(filters, "tags-any")
        query.tagged.append(tuple(any_of))
        query.tags.append(
            lambda stored, related, wanted=any_of:
            any(tag in _live_tags(stored, related) for tag in wanted))
    if "not-tags" in filters:
        refused = _wanted(filters, "not-tags", False)
        query.tags.append(
            lambda stored, related, refused=refused:
            not all(tag in _live_tags(stored, related) for tag in refused))
    if "not-tags-any" in filters:
        none_of = _wanted(filters, "not-tags-any")
        query.tags.append(
            lambda stored, related, refused=none_of:
            not any(tag in _live_tags(stored, related) for tag in refused))


def _wanted(filters, name, may_be_empty=True):
    """Take out a filter: its tags, as they are stored."""
    tags = filters.pop(name)
    if not tags and not may_be_empty:
        # Nova takes the first one and fails: let it.
        raise native.Fallback()
    return [_as_text(tag) for tag in tags]


def _as_text(value):
    """Return a value as a column of text stores it."""
    return schema.apply_affinity("TEXT", value)


def _exact(query, filters):
    for name in _EXACT:
        if name not in filters:
            continue
        value = filters.pop(name)
        if name in ("metadata", "system_metadata"):
            _metadata(query, name, value)
        elif isinstance(value, (list, tuple, set, frozenset)):
            if not value:
                return False
            _restrict(query, name, session.In(tuple(value)))
        else:
            _restrict(query, name, value)
    return True


def _restrict(query, name, value):
    if name in query.equal:
        raise native.Fallback()
    query.equal[name] = value


def _metadata(query, name, value):
    for item in value if isinstance(value, list) else [value]:
        for key, wanted in item.items():
            key, wanted = _as_text(key), _as_text(wanted)
            # Nova asks for the key and for the value each on its own.
            query.tags.append(
                lambda stored, related, key=key: any(
                    row.get("key") == key
                    for row in getattr(related, name)))
            query.tags.append(
                lambda stored, related, wanted=wanted: any(
                    row.get("value") == wanted
                    for row in getattr(related, name)))


def _regex(query, filters):
    if not filters:
        return
    safe, operator = matching.regexp_ops(CONF.database.connection)
    for name, value in filters.items():
        if name not in INSTANCES.template:
            attribute = getattr(models.Instance, name, None)
            if attribute is None or isinstance(attribute, property):
                continue
            raise native.Fallback()
        if name in INSTANCES.bind_processors:
            raise native.Fallback()
        if not isinstance(value, str):
            value = str(value)
        if operator == "LIKE":
            test = matching.like("%" + value + "%")
            part = entry_columns.part_of_like(value)
        elif operator == "REGEXP":
            test = matching.matches(safe(value))
            part = matching.part_of_expression(safe(value))
        else:
            raise native.Fallback()
        query.column_tests.append((name, test, part))
