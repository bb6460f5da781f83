# SPDX-License-Identifier: Apache-2.0
"""Cinder: pages of volumes, snapshots and backups, newest first."""

from nova_kvs.rules import Rule

_PAGES = (("deleted", "created_at", "id"),
          ("project_id", "created_at", "id"))

RULES = {
    "volumes": Rule(("attach_status", "volume_type_id"), (
        *_PAGES, ("display_name",), ("status", "created_at", "id"),
        # A host's, which is its own name or one with a pool behind it; its
        # snapshots' volumes may be deleted.
        ("deleted", "host"), ("host",))),
    "snapshots": Rule(("volume_id", "cgsnapshot_id"), (
        *_PAGES, ("volume_id", "created_at", "id"))),
    "backups": Rule(("volume_id", "container"), (
        *_PAGES, ("volume_id", "created_at", "id"))),
    # Nova asks for those of a server.
    "volume_attachment": Rule(("volume_id", "attach_mode"), (
        ("instance_uuid",),)),
}
