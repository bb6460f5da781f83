# SPDX-License-Identifier: Apache-2.0
"""Lists of servers: by filters, page by page, by host.

A list by creation time, which is how the API sorts, reads an ordered index
from its page's start, so its cost is the page's. Everything else reads what
the most selective filter finds, then filters and sorts.

:source: nova.db.main.api, "instance_get_all*"
"""

import collections
import copy
import datetime
import functools

from nova.compute import task_states
from nova.compute import vm_states
from nova.db import utils as db_utils
from nova import exception
from oslo_utils import timeutils

from nova_kvs.db import instance_filters
from nova_kvs.db import instance_joins as joins
from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import pages
from nova_kvs.db import session
from nova_kvs.record import planner

INSTANCES = joins.INSTANCES
_OBJECTS = "nova.objects.instance:InstanceList."
_UUID = frozenset(["uuid"])
#: The columns that quotas look at.
_USAGE = frozenset(["hidden", "memory_mb", "user_id", "vcpus",
                    ("vm_state", vm_states.SOFT_DELETED)])
_DEFAULT_JOINS = ["info_cache", "security_groups"]


def _joins_of(columns_to_join):
    """Return (joins, manual joins) as Nova's list functions split them."""
    if columns_to_join is None:
        return _DEFAULT_JOINS, None
    manual, others = joins.manual_join_columns(columns_to_join)
    return others, manual


def _marker(s, context, marker):
    """Return the stored values of a marker's server.

    :raises nova.exception.MarkerNotFound:
    """
    elevated = context.elevated(read_deleted="yes")
    found = s.records(session.find(
        INSTANCES, uuid=marker, **session.project_scope(elevated)),
        table_only=True)[0]
    if not found:
        raise exception.MarkerNotFound(marker=marker)
    return found[0].values


@native.main_reader(require_context=True)
def instance_get_all_by_filters(
    s, context, filters, sort_key="created_at", sort_dir="desc", limit=None,
    marker=None, columns_to_join=None,
):
    """Get all instances matching all filters sorted by the primary key."""
    return _by_filters(s, context, filters, limit, marker, columns_to_join,
                       [sort_key], [sort_dir])


@native.main_reader(require_context=True)
def instance_get_all_by_filters_sort(s, context, filters, limit=None,
                                     marker=None, columns_to_join=None,
                                     sort_keys=None, sort_dirs=None):
    """Get all instances that match all filters sorted by the given keys."""
    return _by_filters(s, context, filters, limit, marker, columns_to_join,
                       sort_keys, sort_dirs)


def _by_filters(s, context, filters, limit, marker, columns_to_join,
                sort_keys, sort_dirs):
    if limit == 0:
        return []
    sort_keys, sort_dirs = db_utils.process_sort_params(
        sort_keys, sort_dirs, default_dir="desc")
    names, manual = _joins_of(columns_to_join)
    joins.names_of(names)
    query = instance_filters.parse(context, copy.deepcopy(filters))
    if query is None:
        return []
    after = None
    if marker is not None:
        after = _marker(s, context, marker)
    matching.check_sort_keys(INSTANCES, sort_keys)
    if after is not None:
        query.tests.append(
            matching.after_marker(after, sort_keys, sort_dirs))
    table_only = joins.are_elsewhere(names, manual)
    if query.tags:
        query.choose = functools.partial(_with_tags, s, query.tags)
        _find_tagged(s, query)
    page = limit, after, sort_keys, sort_dirs, table_only
    records = _one_of(s, query, *page)
    if records is None:
        records = pages.passing_entries(s, query.find(), *page)
    if records is None:
        records = pages.by_change(s, query.find(), *page)
    if records is None:
        records = pages.page(s, query.find(), *page)
    if records is None:
        found = query.find()
        records = s.records(
            found, table_only=not query.tags and (
                table_only or limit is not None and s.reads_many(found)))[0]
    matching.sort(records, sort_keys, sort_dirs)
    records = matching.limited(records, limit)
    return joins.fill(s, context, s.rows(INSTANCES, records),
                      names, manual)


def _one_of(s, query, *page):
    """Return the records that a query's alternatives find: as ``pages.page``.

    :returns: None if it has none, or another way is better.
    """
    if not query.alternatives:
        return None
    found = {}
    for equal in query.alternatives:
        if not query.equal.keys().isdisjoint(equal):
            return None
        find = query.find(equal)
        records = pages.passing_entries(s, find, *page)
        if records is None:
            find = find._replace(equal=s.bind_equal(find))
            if s.path(find).rank > planner.Rank.INDEX and not (
                    s.finds_deleted(find)):
                return None
            records = s.records(find, table_only=True)[0]
        found.update((record.key, record) for record in records)
    return list(found.values())


def _find_tagged(s, query):
    """Restrict a query to the servers that its tags find, if that is best.
    """
    finds = [session.find(joins.TAGS, tag=session.In(tags))
             for tags in query.tagged]
    found = query.find()
    found = found._replace(equal=s.bind_equal(found))
    if finds and s.path(found).rank >= planner.Rank.BROAD and (
            s.path(finds[0]).rank < planner.Rank.BROAD):
        query.equal["uuid"] = session.In(tuple(sorted(set.intersection(*[
            {record.values["resource_id"] for record in records}
            for records in s.records(*finds)]))))


def _with_tags(s, tests, records):
    """Return the records of servers whose tags and metadata pass tests."""
    if not records:
        return []
    uuids = session.In(tuple(record.values["uuid"] for record in records))
    tags, metadata, system = s.records(
        session.find(joins.TAGS, resource_id=uuids),
        session.find(joins.METADATA, instance_uuid=uuids, deleted=0),
        session.find(joins.SYSTEM_METADATA, instance_uuid=uuids))
    related = collections.defaultdict(instance_filters.Related)
    for record in tags:
        related[record.values["resource_id"]].tags.add(record.values["tag"])
    for record in metadata:
        related[record.values["instance_uuid"]].metadata.append(
            record.values)
    for record in system:
        related[record.values["instance_uuid"]].system_metadata.append(
            record.values)
    result = []
    for record in records:
        mine = related[record.values["uuid"]]
        if all(test(record.values, mine) for test in tests):
            result.append(record)
    return result


@native.main_reader(require_context=True)
def instance_get_by_sort_filters(s, context, sort_keys, sort_dirs, values):
    """Get the UUID of the first instance in a sort order."""
    if None in values or not INSTANCES.template.keys() >= set(sort_keys):
        # Nova's own raises SQLAlchemy's errors then.
        raise native.Fallback()
    found = pages.first(s, INSTANCES, sort_keys, sort_dirs, values)
    return None if found is None else found.values["uuid"]


@native.main_reader(require_context=True)
def instance_get_all(s, context, columns_to_join=None):
    """Get all instances."""
    names, manual = _joins_of(columns_to_join)
    equal = session.scope(context)
    if not context.is_admin:
        if context.project_id:
            equal["project_id"] = context.project_id
        else:
            equal["user_id"] = context.user_id
    return joins.fill(s, context, s.all(INSTANCES, **equal), names, manual)


@native.main_reader(require_context=True)
def instances_fill_metadata(s, context, instances, manual_joins=None):
    """Selectively fill instances with manually-joined metadata."""
    return joins.fill_dicts(s, context, [dict(one) for one in instances],
                            manual_joins)


@native.main_reader(require_context=True)
def instance_get_active_by_window_joined(s, context, begin, end=None,
                                         project_id=None, host=None,
                                         columns_to_join=None, limit=None,
                                         marker=None):
    """Get instances and joins active during a certain time window."""
    names, manual = _joins_of(columns_to_join)
    begin = INSTANCES.bind("terminated_at", begin)
    end = end and INSTANCES.bind("launched_at", end)

    def test(stored):
        terminated = stored.get("terminated_at")
        if terminated is not None and terminated <= begin:
            return False
        launched = stored.get("launched_at")
        return not end or launched is not None and launched < end

    equal = {}
    if project_id:
        equal["project_id"] = project_id
    if host:
        equal["host"] = host
    after = None if marker is None else _marker(s, context, marker)
    records = s.records(session.Find(INSTANCES, equal, test),
                        table_only=joins.are_elsewhere(names, manual))[0]
    order = ["project_id", "uuid"], ["asc", "asc"]
    if after is not None:
        follows = matching.after_marker(after, *order)
        records = [record for record in records if follows(record.values)]
    matching.sort(records, *order)
    records = matching.limited(records, limit)
    return joins.fill(s, context, s.rows(INSTANCES, records),
                      names, manual)


@native.main_reader()
def instance_get_all_by_host(s, context, host, columns_to_join=None):
    """Get all instances belonging to a host."""
    names = _DEFAULT_JOINS if columns_to_join is None else columns_to_join
    joins.names_of(names)
    found = s.all(INSTANCES, host=host, **session.scope(context))
    return joins.fill(s, context, found, names, columns_to_join)


@native.main_reader()
def instance_get_all_by_host_and_node(s, context, host, node,
                                      columns_to_join=None):
    """Get all instances belonging to a node."""
    manual = []
    names = _DEFAULT_JOINS
    if columns_to_join is not None:
        manual = [name for name in columns_to_join
                  if name in ("system_metadata", "metadata")]
        names = [name for name in columns_to_join if name not in manual]
    joins.names_of(names)
    found = s.all(INSTANCES, host=host, node=node,
                  **session.scope(context))
    return joins.fill(s, context, found, names, manual)


@native.main_reader()
def instance_get_all_by_host_and_not_type(s, context, host, type_id=None):
    """Get all instances belonging to a host with a different type_id."""
    if type_id is None:
        test = lambda stored: "instance_type_id" in stored  # noqa: E731
        equal = {}
    else:
        test = None
        equal = {"instance_type_id": session.Not((type_id,))}
    found = s.all(INSTANCES, test, host=host, **equal,
                  **session.scope(context))
    return joins.fill(s, context, found, _DEFAULT_JOINS, None)


@native.main_reader()
def instance_get_all_hung_in_rebooting(s, context, reboot_window):
    """Get all instances stuck in a rebooting state."""
    limit = INSTANCES.bind(
        "updated_at",
        timeutils.utcnow() - datetime.timedelta(seconds=reboot_window))

    def test(stored):
        return "updated_at" in stored and stored["updated_at"] <= limit

    found = s.all(INSTANCES, test, task_state=task_states.REBOOTING,
                  **session.scope(context))
    return joins.fill(s, context, found, (), [])


@native.main_reader()
def instance_get_all_uuids_by_hosts(s, context, hosts):
    """Get a defaultdict of hostname to instance UUIDs."""
    result = collections.defaultdict(list)
    for record in s.records(session.find(
            INSTANCES, deleted=0, host=session.In(tuple(hosts))),
            table_only=True, only_columns=_UUID)[0]:
        result[record.values["host"]].append(record.values["uuid"])
    return result


_Uuid = collections.namedtuple("_Uuid", "uuid")


@native.main_reader(_OBJECTS + "_get_uuids_by_host_and_node")
def _get_uuids_by_host_and_node(s, context, host, node):
    return [_Uuid(record.values["uuid"]) for record in s.records(
        session.find(INSTANCES, host=host, node=node, deleted=0),
        table_only=True, only_columns=_UUID)[0]]


@native.main_reader(_OBJECTS + "_get_count_by_vm_state_in_db")
def _get_count_by_vm_state_in_db(s, context, project_id, user_id, vm_state):
    return s.count(INSTANCES, deleted=0, project_id=project_id,
                   user_id=user_id, vm_state=vm_state)


@native.main_reader(_OBJECTS + "_get_count_by_hosts")
def _get_count_by_hosts(s, context, hosts):
    return s.count(INSTANCES, deleted=0, host=session.In(tuple(hosts)))


@native.main_reader(_OBJECTS + "_get_counts_in_db")
def _get_counts_in_db(s, context, project_id, user_id=None):
    def test(stored):
        return not stored.get("hidden") and (
            stored.get("vm_state") != vm_states.SOFT_DELETED)

    found = s.records(session.find(
        INSTANCES, test, deleted=0, project_id=project_id),
        table_only=True, only_columns=_USAGE)[0]
    counts = {"project": _usage(found)}
    if user_id:
        counts["user"] = _usage([record for record in found
                                 if record.values.get("user_id") == user_id])
    return counts


def _usage(records):
    return {"instances": len(records),
            "cores": sum(r.values.get("vcpus", 0) for r in records),
            "ram": sum(r.values.get("memory_mb", 0) for r in records)}
