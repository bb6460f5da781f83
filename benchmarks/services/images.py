# SPDX-License-Identifier: Apache-2.0
"""Glance: images with properties, a location, a tag; some are shared."""

from glance.common import config
from glance import context
from glance.db.sqlalchemy import api
from glance.db.sqlalchemy import models
from glance.db.sqlalchemy import models_metadef

from benchmarks.services import filling

#: Images of a project.
_SHARE = 10
_PUBLIC = 20
_PAGE = 20


def metadata():
    """Return the service's tables."""
    found = models.BASE.metadata
    for table in models_metadef.BASE_DICT.metadata.tables.values():
        if table.name not in found.tables:
            table.to_metadata(found)
    return found


def rows(size):
    """Yield the rows of so many images."""
    for number in range(size):
        image, created = filling.uid("image", number), filling.moment(number)
        times = {"created_at": created, "updated_at": created,
                 "deleted": False}
        yield "images", {
            "id": image, "name": "image%d" % number, "status": "active",
            "visibility": "public" if number < _PUBLIC else "shared",
            "disk_format": "qcow2", "container_format": "bare",
            "size": 1000 + number, "virtual_size": 1000, "checksum": "c",
            "owner": filling.project(number // _SHARE), "min_disk": 0,
            "min_ram": 0, "protected": False, "os_hidden": False, **times}
        for name, value in (
                ("os_distro", "debian"), ("hw_disk_bus", "virtio"),
                ("os_version", "12"), ("build", "build%d" % number)):
            yield "image_properties", {
                "image_id": image, "name": name, "value": value, **times}
        yield "image_locations", {
            "image_id": image, "value": "file:///%s" % image,
            "meta_data": {}, "status": "active", **times}
        yield "image_tags", {"image_id": image, "value": "tag%d" % (
            number // _SHARE), **times}
        if not number % _SHARE:
            yield "image_members", {
                "image_id": image, "can_share": False, "status": "accepted",
                "member": filling.project(
                    (number // _SHARE + 1) % max(1, size // _SHARE)),
                **times}


def start(config_file):
    """Open the database.

    :returns: a context of an administrator.
    """
    config.parse_args(args=[], default_config_files=[config_file])
    return context.RequestContext(is_admin=True, project_id="admin")


def _mine(world):
    return context.RequestContext(is_admin=False, project_id=_owner(world))


def _owner(world):
    return filling.project(world.number() // _SHARE)


def _image(world):
    return filling.uid("image", world.number())


def _page(world, caller=None, **filters):
    return api.image_get_all(
        caller or world.service, filters={"deleted": False, **filters},
        limit=_PAGE, sort_key=["created_at"], sort_dir=["desc"],
        return_tag=True)


#: Name -> function of a worker.World, which is what is measured.
CALLS = {
    "a page of images": _page,
    "the next page": lambda world: api.image_get_all(
        world.service, filters={"deleted": False}, limit=_PAGE,
        marker=_image(world), sort_key=["created_at"], sort_dir=["desc"],
        return_tag=True),
    "a page by name": lambda world: api.image_get_all(
        world.service, filters={"deleted": False}, limit=_PAGE,
        sort_key=["name"], sort_dir=["asc"], return_tag=True),
    "images of a project": lambda world: _page(world, _mine(world)),
    "images of an owner": lambda world: _page(world, owner=_owner(world)),
    "public images": lambda world: _page(world, visibility="public"),
    "images with a name": lambda world: _page(
        world, name="image%d" % world.number()),
    "images with a status": lambda world: _page(world, status="active"),
    "images with a property": lambda world: _page(
        world, properties={"build": "build%d" % world.number()}),
    "images with a common property": lambda world: _page(
        world, properties={"os_distro": "debian"}),
    "images with a tag": lambda world: _page(
        world, tags=["tag%d" % (world.number() // _SHARE)]),
    "images with a size": lambda world: _page(
        world, size_min=1000 + world.number()),
    "an image": lambda world: api.image_get(world.service, _image(world)),
    "members of an image": lambda world: api.image_member_find(
        world.service, image_id=_image(world)),
    "an owner's usage": lambda world: api.user_get_storage_usage(
        world.service, _owner(world)),
    "an owner's number of images": lambda world: api.user_get_image_count(
        world.service, _owner(world)),
    "an owner's uploads": lambda world: api.user_get_uploading_count(
        world.service, _owner(world)),
}
