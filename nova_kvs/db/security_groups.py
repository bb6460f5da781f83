# SPDX-License-Identifier: Apache-2.0
"""Security groups, which Nova keeps for the default group's sake.

:source: nova.db.main.api, "security_group_*"
"""

import nova.context
from nova.db.main import models
from nova import exception
from oslo_db import exception as db_exc

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

GROUPS = rows.table(models.SecurityGroup)
GROUP_RULES = rows.table(models.SecurityGroupIngressRule)
GROUP_LINKS = rows.table(models.SecurityGroupInstanceAssociation)
INSTANCES = rows.table(models.Instance)


def _attach_rules(s, groups):
    """Set the rules of groups, and the group that each rule admits."""
    if not groups:
        return
    rules = s.all(GROUP_RULES, deleted=0, parent_group_id=session.In(
        tuple(group.id for group in groups)))
    grantees = {}
    ids = {rule.group_id for rule in rules if rule.group_id is not None}
    if ids:
        grantees = {group.id: group for group in s.all(
            GROUPS, id=session.In(tuple(ids)))}
    for rule in rules:
        rule.__dict__["grantee_group"] = grantees.get(rule.group_id)
    for group in groups:
        group.__dict__["rules"] = [
            rule for rule in rules if rule.parent_group_id == group.id]


def _by_names(s, context, names):
    found = s.all(GROUPS, project_id=context.project_id, deleted=0,
                  name=session.In(tuple(names)))
    if len(found) != len(names):
        known = [group.name for group in found]
        for name in names:
            if name not in known:
                raise exception.SecurityGroupNotFoundForProject(
                    project_id=context.project_id, security_group_id=name)
    return found


def for_names(s, context, names, default_group):
    """Return the groups that a new server names.

    :source: nova.db.main.api.instance_create
    """
    groups = []
    if "default" in names:
        groups.append(default_group)
        names = [name for name in names if name != "default"]
    if names:
        groups.extend(_by_names(s, context, names))
    return groups


def default_find(context):
    """Return the Find of a project's default group."""
    return session.find(GROUPS, project_id=context.project_id,
                        name="default", deleted=0)


def ensure_default(s, context):
    """Return a project's default group; create it, at once, if missing."""
    wanted = default_find(context)
    found, = s.load(wanted)
    group = found[0] if found else None
    if group is None:
        # As Nova's security_group_create does.
        nova.context.require_context(context)
        other = session.Session(s.database)
        group = other.insert(GROUPS, {
            "name": "default", "description": "default",
            "user_id": context.user_id, "project_id": context.project_id})
        group.__dict__["rules"] = []
        try:
            other.commit()
        except db_exc.DBDuplicateEntry:
            # Somebody else was first.
            (group,), = session.Session(s.database).load(wanted)
    return group


@native.main_writer()
def security_group_ensure_default(s, context):
    """Ensure default security group exists for a project_id."""
    return ensure_default(s, context)


@native.main_reader(require_context=True)
def security_group_get_all(s, context):
    """Get all security groups."""
    groups = s.all(GROUPS, **session.scope(context))
    _attach_rules(s, groups)
    return groups


@native.main_reader(require_context=True)
def security_group_get(s, context, security_group_id, columns_to_join=None):
    """Get security group by its ID."""
    if set(columns_to_join or ()) - {"rules"}:
        raise native.Fallback()
    group = s.first(GROUPS, id=security_group_id,
                    **session.project_scope(context))
    if group is None:
        raise exception.SecurityGroupNotFound(
            security_group_id=security_group_id)
    if columns_to_join and "rules" in columns_to_join:
        columns_to_join.remove("rules")
        _attach_rules(s, [group])
    return group


@native.main_reader(require_context=True)
def security_group_get_by_name(s, context, project_id, group_name):
    """Returns a security group with the specified name from a project."""
    group = s.first(GROUPS, deleted=0, project_id=project_id,
                    name=group_name)
    if group is None:
        raise exception.SecurityGroupNotFoundForProject(
            project_id=project_id, security_group_id=group_name)
    _attach_rules(s, [group])
    links = s.all(GROUP_LINKS, security_group_id=group.id, deleted=0)
    group.__dict__["instances"] = s.all(
        INSTANCES, deleted=0, uuid=session.In(
            tuple({link.instance_uuid for link in links})))
    return group


@native.main_reader(require_context=True)
def security_group_get_by_project(s, context, project_id):
    """Get all security groups belonging to a project."""
    groups = s.all(GROUPS, deleted=0, project_id=project_id)
    _attach_rules(s, groups)
    return groups


@native.main_reader(require_context=True)
def security_group_get_by_instance(s, context, instance_uuid):
    """Get security groups to which the instance is assigned."""
    links, instances = s.load(
        session.find(GROUP_LINKS, instance_uuid=instance_uuid, deleted=0),
        session.find(INSTANCES, uuid=instance_uuid, deleted=0))
    if not links or not instances:
        return []
    groups = s.all(GROUPS, deleted=0, id=session.In(
        tuple({link.security_group_id for link in links})))
    _attach_rules(s, groups)
    return groups


@native.main_reader(require_context=True)
def security_group_in_use(s, context, group_id):
    """Indicates if a security group is currently in use."""
    links = s.all(GROUP_LINKS, security_group_id=group_id, deleted=0)
    uuids = {link.instance_uuid for link in links}
    return bool(uuids) and bool(s.count(
        INSTANCES, uuid=session.In(tuple(uuids)), deleted=0))


@native.main_writer(require_context=True)
def security_group_update(s, context, security_group_id, values):
    """Update a security group."""
    group = s.first(GROUPS, id=security_group_id, **session.scope(context))
    if group is None:
        raise exception.SecurityGroupNotFound(
            security_group_id=security_group_id)
    s.update(group, values)
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        raise exception.SecurityGroupExists(
            project_id=group.project_id, security_group_name=group.name)
    return group
