# SPDX-License-Identifier: Apache-2.0
from nova.db.main import models

from nova_kvs.db import native
from tests.differential import clouds


def test_a_live_quota_comes_before_deleted_ones():
    """As from SQLite, without an ORDER BY, with deleted ones asked for."""
    found = []
    for cloud in (clouds.SQLiteCloud(), clouds.KVSCloud()):
        def call(name, *args, **context):
            return cloud.call("%s:%s" % (native.MAIN, name),
                              clouds.context(**context), *args)
        for limit in (1, 2):
            call("quota_destroy_all_by_project", "p")
            cloud.insert(models.Quota, {
                "project_id": "p", "resource": "cores", "hard_limit": limit})
        found.append(call(
            "quota_get", "p", "cores", read_deleted="yes").hard_limit)
    assert found == [2, 2]
