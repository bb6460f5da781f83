# SPDX-License-Identifier: Apache-2.0
from nova_kvs import cache
from nova_kvs import metrics
from nova_kvs.record import access
from tests.unit.record import databases


def test_the_oldest_quarter_goes():
    known = cache.Cache(8)
    for number in range(8):
        known[number] = "x"
    known.trim()
    assert len(known) == 8
    known[8] = "x"
    known.trim()
    assert list(known) == list(range(3, 9))


def test_hits_are_in_the_metrics(tmp_path):
    db = databases.make()
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    reader = databases.another(db)
    for _ in range(3):
        databases.load(reader, access.ByPartition("instances", ("u",)))
    writer = metrics.Writer(str(tmp_path), 60)
    writer.databases.add(reader)
    found = {(metric.name, sample.labels["cache"]): sample.value
             for metric in writer.collect() for sample in metric.samples
             if "cache" in sample.labels}
    assert found["nova_kvs_cache_hits", "partitions"] == 2
    assert found["nova_kvs_cache_misses", "partitions"] == 1
