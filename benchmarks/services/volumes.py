# SPDX-License-Identifier: Apache-2.0
"""Cinder: volumes with metadata; half have a snapshot and an attachment."""

from cinder.common import config  # noqa: F401, registers the options
from cinder import context
from cinder.db import api
from cinder.db import models
from oslo_config import cfg

from benchmarks.services import filling

#: Volumes of a project, and of a pool; pools of a host.
_SHARE, _POOL, _POOLS = 10, 10, 2
_PAGE = 20
_KEYS, _NEWEST = ["created_at", "id"], ["desc", "desc"]


def metadata():
    """Return the service's tables."""
    return models.BASE.metadata


def _host(number):
    return "host%d@lvm" % (number // (_POOL * _POOLS))


def rows(size):
    """Yield the rows of so many volumes."""
    yield "volume_types", {
        "id": filling.uid("type", 0), "name": "__DEFAULT__",
        "is_public": True, "deleted": False}
    for number in range(size):
        volume, created = (
            filling.uid("volume", number), filling.moment(number))
        times = {"created_at": created, "updated_at": created,
                 "deleted": False}
        owner = filling.project(number // _SHARE)
        attached = bool(number % 2)
        yield "volumes", {
            "id": volume, "_name_id": None, "project_id": owner,
            "user_id": "user", "display_name": "volume%d" % number,
            "size": 1, "status": "in-use" if attached else "available",
            "attach_status": "attached" if attached else "detached",
            "host": "%s#pool%d" % (_host(number), number // _POOL % _POOLS),
            "volume_type_id": filling.uid("type", 0), "bootable": False,
            "multiattach": False, "use_quota": True,
            "availability_zone": "nova", **times}
        for key in ("one", "two"):
            yield "volume_metadata", {
                "volume_id": volume, "key": key,
                "value": "value%d" % (number // _SHARE), **times}
        if attached:
            yield "volume_attachment", {
                "id": filling.uid("attachment", number), "volume_id": volume,
                "instance_uuid": filling.uid("server", number),
                "attach_status": "attached", "attached_host": "compute",
                "mountpoint": "/dev/vdb", **times}
            yield "snapshots", {
                "id": filling.uid("snapshot", number), "volume_id": volume,
                "project_id": owner, "user_id": "user", "status": "available",
                "volume_size": 1, "volume_type_id": filling.uid("type", 0),
                "display_name": "snapshot%d" % number, "use_quota": True,
                **times}


def start(config_file):
    """Open the database.

    :returns: a context of an administrator.
    """
    cfg.CONF([], project="cinder", default_config_files=[config_file])
    api.configure(cfg.CONF)
    return context.get_admin_context


def _owner(world):
    return filling.project(world.number() // _SHARE)


def _user(world):
    return context.RequestContext("user", _owner(world), is_admin=False)


def _volume(world):
    return filling.uid("volume", world.number())


def _page(world, **filters):
    return api.volume_get_all(world.service(), None, _PAGE, _KEYS, _NEWEST,
                              filters or None)


def _mine(world, **filters):
    owner = _owner(world)
    return api.volume_get_all_by_project(
        context.RequestContext("user", owner, is_admin=False), owner, None,
        _PAGE, _KEYS, _NEWEST, filters or None)


#: Name -> function of a worker.World, which is what is measured.
CALLS = {
    "a page of volumes": _page,
    "the next page": lambda world: api.volume_get_all(
        world.service(), _volume(world), _PAGE, _KEYS, _NEWEST),
    "a page by name": lambda world: api.volume_get_all(
        world.service(), None, _PAGE, ["display_name", "id"], ["asc", "asc"]),
    "volumes of a project": _mine,
    "volumes of a project with metadata": lambda world: _mine(
        world, metadata={"one": "value%d" % world.number()}),
    "volumes with a name": lambda world: _page(
        world, display_name="volume%d" % world.number()),
    "volumes with a status": lambda world: _page(world, status="in-use"),
    "volumes with metadata": lambda world: _page(
        world, metadata={"one": "value%d" % (world.number() // _SHARE)}),
    "volumes of a host": lambda world: api.volume_get_all_by_host(
        world.service(), _host(world.number())),
    "a host's number and size": lambda world: api.volume_data_get_for_host(
        world.service(), _host(world.number())),
    "a volume": lambda world: api.volume_get(world.service(), _volume(world)),
    "a project's number and size":
        lambda world: api.volume_data_get_for_project(
            world.service(), _owner(world)),
    "a summary of all": lambda world: api.get_volume_summary(
        world.service(), False),
    "a summary of a project": lambda world: api.get_volume_summary(
        _user(world), True),
    "number of a project's volumes":
        lambda world: api.calculate_resource_count(
            _user(world), "volume", {"project_id": _owner(world)}),
    "a page of snapshots": lambda world: api.snapshot_get_all(
        world.service(), None, None, _PAGE, _KEYS, _NEWEST),
    "snapshots of a project": lambda world: api.snapshot_get_all_by_project(
        _user(world), _owner(world), None, None, _PAGE, _KEYS, _NEWEST),
    "snapshots of a volume": lambda world: api.snapshot_get_all_for_volume(
        world.service(), _volume(world)),
    "snapshots of a host": lambda world: api.snapshot_get_all_by_host(
        world.service(), _host(world.number())),
    "attachments of a server":
        lambda world: api.volume_attachment_get_all_by_instance_uuid(
            world.service(), filling.uid("server", world.number())),
    "attachments of a volume":
        lambda world: api.volume_attachment_get_all_by_volume_id(
            world.service(), _volume(world)),
}
