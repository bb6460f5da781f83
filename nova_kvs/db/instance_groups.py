# SPDX-License-Identifier: Apache-2.0
"""Server groups.

:source: nova.objects.instance_group
"""

from nova.db.api import models
from nova import exception
from oslo_db import exception as db_exc
from oslo_serialization import jsonutils

from nova_kvs.compatibility import private
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

GROUPS = rows.table(models.InstanceGroup)
POLICIES = rows.table(models.InstanceGroupPolicy)
MEMBERS = rows.table(models.InstanceGroupMember)
if not GROUPS.relationships >= {private.MEMBERS, private.POLICIES}:
    raise AttributeError("InstanceGroup has no %s and %s" % (
        private.MEMBERS, private.POLICIES))
_ONE = "nova.objects.instance_group:InstanceGroup."
_LIST = "nova.objects.instance_group:InstanceGroupList."


def _attach(s, groups):
    if groups:
        wanted = session.In(tuple(group.id for group in groups))
        policies, members = s.load(
            session.find(POLICIES, group_id=wanted),
            session.find(MEMBERS, group_id=wanted))
        for group in groups:
            group.__dict__["_policies"] = [
                row for row in policies if row.group_id == group.id]
            group.__dict__["_members"] = [
                row for row in members if row.group_id == group.id]
    return groups


def _visible(context):
    return {} if context.is_admin else {"project_id": context.project_id}


def _get(s, context, named, **equal):
    """Return a group that a context may see.

    :param named: what the error calls it.
    """
    if not any(equal.values()):
        # Nova then asks for any group at all.
        raise native.Fallback()
    groups = _attach(s, s.all(GROUPS, **{**equal, **_visible(context)})[:1])
    if not groups:
        raise exception.InstanceGroupNotFound(group_uuid=named)
    return groups[0]


@native.api_reader(_ONE + "_get_from_db_by_uuid")
def _get_from_db_by_uuid(s, context, uuid):
    return _get(s, context, uuid, uuid=uuid)


@native.api_reader(_ONE + "_get_from_db_by_id")
def _get_from_db_by_id(s, context, id):
    return _get(s, context, id, id=id)


@native.api_reader(_ONE + "_get_from_db_by_name")
def _get_from_db_by_name(s, context, name):
    return _get(s, context, name, name=name)


@native.api_reader(_ONE + "_get_from_db_by_instance")
def _get_from_db_by_instance(s, context, instance_uuid):
    member = s.first(MEMBERS, instance_uuid=instance_uuid)
    if member is None:
        raise exception.InstanceGroupNotFound(group_uuid="")
    return _get(s, context, member.group_id, id=member.group_id)


def _add_members(s, group, existing, members):
    """Add those members that a group does not have; return all of them."""
    known = {row.instance_uuid for row in existing}
    added = [s.insert(MEMBERS, {"group_id": group.id,
                                "instance_uuid": member})
             for member in members if member not in known]
    return existing + added, added


@native.api_writer(_ONE + "_save_in_db")
def _save_in_db(s, context, group_uuid, values):
    group = _get(s, context, group_uuid, uuid=group_uuid)
    values = dict(values)
    members = values.pop("members", None)
    s.update(group, values)
    if members is not None:
        existing = [row for row in group._members
                    if row.instance_uuid in members]
        _all, added = _add_members(s, group, existing, members)
        if group._members:
            # Nova appends to a list only if there is something in it.
            group._members.extend(added)
    return group


@native.api_writer(_ONE + "_create_in_db")
def _create_in_db(s, context, values, policies=None, members=None,
                  policy=None, rules=None):
    group = s.insert(GROUPS, values)
    attributes = group.__dict__
    attributes["_policies"] = []
    attributes["_members"] = []
    if policies:
        attributes["_policies"].append(s.insert(POLICIES, {
            "group_id": group.id, "policy": policies[0], "rules": None}))
        attributes["rules"] = None
    elif policy:
        attributes["_policies"].append(s.insert(POLICIES, {
            "group_id": group.id, "policy": policy,
            "rules": jsonutils.dumps(rules or {})}))
    if members:
        attributes["_members"] = _add_members(s, group, [], members)[0]
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        raise exception.InstanceGroupIdExists(group_uuid=values["uuid"])
    return group


@native.api_writer(_ONE + "_destroy_in_db")
def _destroy_in_db(s, context, group_uuid):
    group = _get(s, context, group_uuid, uuid=group_uuid)
    s.delete(getattr(group, private.POLICIES))
    s.delete(getattr(group, private.MEMBERS))
    s.delete([group])


@native.api_writer(_ONE + "_add_members_in_db")
def _add_members_in_db(s, context, group_uuid, members):
    group = s.first(GROUPS, uuid=group_uuid)
    if group is None:
        raise exception.InstanceGroupNotFound(group_uuid=group_uuid)
    # As Nova, which joins on the member alone: one that is in any group
    # counts as known, once. Nova sees no more than one that is, whichever
    # comes first, and would add the others again.
    existing = {}
    for row in s.all(MEMBERS, instance_uuid=session.In(tuple(set(members)))):
        existing.setdefault(row.instance_uuid, row)
    return _add_members(s, group, list(existing.values()), members)[0]


@native.api_writer(_ONE + "_remove_members_in_db")
def _remove_members_in_db(s, context, group_id, instance_uuids):
    s.delete(s.all(MEMBERS, group_id=group_id, instance_uuid=session.In(
        tuple(set(instance_uuids)))))


@native.api_writer(_ONE + "_destroy_members_bulk_in_db")
def _destroy_members_bulk_in_db(s, context, instance_uuids):
    return s.delete(s.all(MEMBERS, instance_uuid=session.In(
        tuple(instance_uuids))))


@native.api_reader(_LIST + "_get_from_db")
def _get_from_db(s, context, project_id=None):
    equal = _visible(context)
    if project_id is not None:
        if equal.get("project_id", project_id) != project_id:
            return []
        equal["project_id"] = project_id
    return _attach(s, s.all(GROUPS, **equal))


@native.api_reader(_LIST + "_get_counts_from_db")
def _get_counts_from_db(s, context, project_id, user_id=None):
    groups = s.all(GROUPS, project_id=project_id)
    counts = {"project": {"server_groups": len(groups)}}
    if user_id:
        counts["user"] = {"server_groups": sum(
            group.user_id == user_id for group in groups)}
    return counts
