# SPDX-License-Identifier: Apache-2.0
"""Glance: lists of images, those that are shared with a project, quotas."""

from nova_kvs.rules import Rule

RULES = {
    "images": Rule(("visibility", "disk_format"), (
        # Pages, newest first, of all, of an owner, of a visibility.
        ("created_at", "id"),
        ("owner", "created_at", "id"),
        ("visibility", "created_at", "id"),
        ("name",))),
    # A user's list asks for the images that others share with its project;
    # all images may have the visibility "shared".
    "image_members": Rule(("image_id", "can_share"), (("member",),)),
    "image_tags": Rule(("image_id", "value"), (("value",),)),
    # Uploads that go on, by the property that each of them has.
    "image_properties": Rule(("image_id", "value"), (("name", "value"),)),
}
