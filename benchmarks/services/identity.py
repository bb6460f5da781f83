# SPDX-License-Identifier: Apache-2.0
"""Keystone: users with a project, a role, a group and a credential each."""

import importlib.metadata

from keystone.assignment.backends import sql as assignment
from keystone.assignment.role_backends import sql as role
from keystone.catalog.backends import sql as catalog
from keystone.common import driver_hints
from keystone.common import sql
import keystone.conf
from keystone.credential.backends import sql as credential
from keystone.identity.backends import sql as identity
from keystone.resource.backends import sql as resource

from benchmarks.services import filling

ROOT, DOMAIN = "<<keystone.domain.root>>", "default"
#: Users of a project, and of a group.
_SHARE = 10
_SERVICES = 10
_PAGE = 20


def metadata():
    """Return the service's tables."""
    for point in importlib.metadata.entry_points(name="sql"):
        if point.group.startswith("keystone."):
            point.load()
    return sql.ModelBase.metadata


def rows(size):
    """Yield the rows of so many users."""
    for name in (ROOT, DOMAIN):
        yield "project", {
            "id": name, "name": name, "domain_id": ROOT, "is_domain": True,
            "enabled": True, "parent_id": None, "extra": {}}
    for number in range(3):
        yield "role", {"id": filling.uid("role", number),
                       "name": "role%d" % number, "extra": {},
                       "domain_id": "<<null>>"}
    yield "region", {"id": "one", "description": "", "extra": {}}
    for number in range(_SERVICES):
        service = filling.uid("service", number)
        yield "service", {"id": service, "type": "type%d" % number,
                          "enabled": True, "extra": {"name": "s"}}
        for interface in ("public", "internal", "admin"):
            yield "endpoint", {
                "id": filling.uid(interface, number), "interface": interface,
                "service_id": service, "url": "http://127.0.0.1/",
                "enabled": True, "region_id": "one", "extra": {}}
    for number in range(size // _SHARE):
        yield "project", {
            "id": filling.project(number), "name": "project%d" % number,
            "domain_id": DOMAIN, "is_domain": False, "enabled": True,
            "parent_id": DOMAIN, "extra": {}}
        yield "group", {
            "id": filling.uid("group", number), "name": "group%d" % number,
            "domain_id": DOMAIN, "extra": {}}
    for number in range(size):
        user = filling.uid("user", number)
        yield "user", {"id": user, "enabled": True, "domain_id": DOMAIN,
                       "extra": {}, "created_at": filling.moment(number)}
        yield "local_user", {
            "id": number + 1, "domain_id": DOMAIN, "user_id": user,
            "name": "user%d" % number}
        yield "password", {
            "id": number + 1, "local_user_id": number + 1,
            "password_hash": "$2b$", "created_at_int": filling.moment(number),
            "created_at": filling.moment(number), "self_service": False}
        yield "user_group_membership", {
            "user_id": user,
            "group_id": filling.uid("group", number // _SHARE)}
        yield "assignment", {
            "type": "UserProject", "actor_id": user, "inherited": False,
            "target_id": filling.project(number // _SHARE),
            "role_id": filling.uid("role", number % 3)}
        yield "credential", {
            "id": filling.uid("credential", number), "user_id": user,
            "type": "ec2", "encrypted_blob": "blob", "key_hash": "hash",
            "project_id": filling.project(number // _SHARE), "extra": {}}


def start(config_file):
    """Open the database.

    :returns: the drivers by name.
    """
    keystone.conf.configure()
    keystone.conf.CONF([], project="keystone",
                       default_config_files=[config_file])
    return {"identity": identity.Identity(), "resource": resource.Resource(),
            "assignment": assignment.Assignment(), "role": role.Role(),
            "catalog": catalog.Catalog(),
            "credential": credential.Credential()}


def _hints(limit=None, **equal):
    hints = driver_hints.Hints()
    for name, value in equal.items():
        hints.add_filter(name, value)
    if limit:
        hints.set_limit(limit)
    return hints


def _user(world):
    return filling.uid("user", world.number())


def _project(world):
    return filling.project(world.number() // _SHARE)


#: Name -> function of a worker.World, which is what is measured.
CALLS = {
    "a page of a domain's users": lambda world: world.service[
        "identity"].list_users(_hints(_PAGE, domain_id=DOMAIN)),
    "users by name": lambda world: world.service["identity"].list_users(
        _hints(name="user%d" % world.number(), domain_id=DOMAIN)),
    "a user": lambda world: world.service["identity"].get_user(_user(world)),
    "a user by name": lambda world: world.service[
        "identity"].get_user_by_name("user%d" % world.number(), DOMAIN),
    "groups of a user": lambda world: world.service[
        "identity"].list_groups_for_user(_user(world), _hints()),
    "users of a group": lambda world: world.service[
        "identity"].list_users_in_group(
            filling.uid("group", world.number() // _SHARE), _hints()),
    "a page of projects": lambda world: world.service[
        "resource"].list_projects(_hints(_PAGE, domain_id=DOMAIN)),
    "a project": lambda world: world.service["resource"].get_project(
        _project(world)),
    "a project by name": lambda world: world.service[
        "resource"].get_project_by_name(
            "project%d" % (world.number() // _SHARE), DOMAIN),
    "roles of a user in a project": lambda world: world.service[
        "assignment"].list_grant_role_ids(
            user_id=_user(world), project_id=_project(world)),
    "assignments of a user": lambda world: world.service[
        "assignment"].list_role_assignments(user_id=_user(world)),
    "assignments of a project": lambda world: world.service[
        "assignment"].list_role_assignments(project_ids=[_project(world)]),
    "roles": lambda world: world.service["role"].list_roles(_hints()),
    "endpoints": lambda world: world.service["catalog"].list_endpoints(
        _hints()),
    "credentials of a user": lambda world: world.service[
        "credential"].list_credentials_for_user(_user(world)),
    "credentials of a type": lambda world: world.service[
        "credential"].list_credentials_for_user(_user(world), "ec2"),
}
