# SPDX-License-Identifier: Apache-2.0
"""Archiving and purging more than etcd takes in one commit."""

from nova.db.main import models

from nova_kvs.db import native
from tests import base
from tests.differential import clouds
from tests import etcd_servers

SERVERS = 150


def test_what_is_too_much_for_one_commit_is_archived_in_several():
    with etcd_servers.EtcdFixture() as servers:
        cloud = clouds.ServerCell(servers.url(base.database_name("archive")))

        def call(name, *args, **kwargs):
            return cloud.call("%s:%s" % (native.MAIN, name),
                              clouds.context(), *args, **kwargs)

        for number in range(SERVERS):
            uuid = "%08d-0000-4000-8000-000000000000" % number
            call("instance_create", {"uuid": uuid, "project_id": "p1",
                                     "host": "h1", "metadata": {"a": "b"}})
            if number:
                call("instance_destroy", uuid)
        archived, uuids, total = call("archive_deleted_rows", max_rows=100000)
        assert archived["instances"] == len(uuids) == SERVERS - 1
        assert total == sum(archived.values())
        assert call("archive_deleted_rows", max_rows=1000)[2] == 0
        assert call("purge_shadow_tables", None) == total
        rows = cloud.rows(models.BASE)
        assert len(rows["instances"]) == 1
        assert not [name for name in rows if name.startswith("shadow_")]
