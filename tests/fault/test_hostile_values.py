# SPDX-License-Identifier: Apache-2.0
"""Values that look like keys, Lua or protocol, in every place of a key."""

import re
import uuid

from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from nova_kvs import keyspace
from nova_kvs.record import access
from tests.fault import scenarios
from tests.unit.record import databases

ALPHABET = "{}:%~\0\1\r\n\t$*+-_\"'\\[]();.,=aA1 \x7f\xff\u20ac\uffff"
TEXTS = st.one_of(
    st.text(alphabet=ALPHABET, max_size=8),
    st.sampled_from([
        "", "}", "{", "}{", "a}b", "{a}", "a:b", "%7D", "%", "~", "~" * 64,
        "\0", "\0\1", "\0\xff", "\r\n", "*1\r\n$8\r\nFLUSHALL\r\n", "$-1\r\n",
        "]] redis.call('FLUSHALL') --", "' .. KEYS[1] .. '", "nil", "x" * 128,
        "x" * 127, "}" * 64, "1", "1.0", "-0", "NULL"]))


#: What ends a text of an encoded tuple, and begins the next one.
JOIN = "\0\1\3"


def near(text):
    """Return texts that must not be mistaken for another."""
    return {text, text[:-1], text + "\0", text + "}", text + " ",
            text.swapcase(), keyspace.quote(text).decode(), "{%s}" % text}


def key_pattern(name):
    part = rb"[A-Za-z0-9_.%~-]*"
    return re.compile(
        rb"kvs:\{%s:[a-z]+:%s(:%s)?\}(x|t[0-9a-f]{32}|w|v|c)?" % (
            re.escape(name.encode()), part, part))


@pytest.mark.short
def test_no_record_is_reachable_under_another_name(cluster, scale, show):
    paths = []

    @settings(max_examples=scale(150, 25), deadline=None,
              suppress_health_check=list(HealthCheck))
    @given(st.lists(TEXTS, min_size=2, max_size=4, unique=True))
    def run(texts):
        name = "hostile-" + uuid.uuid4().hex[:12]
        db = databases.make(url=cluster.url(name))
        rows = {"instances": [], "tags": [], "services": [],
                "block_device_mapping": []}
        for number, text in enumerate(texts):
            other = texts[number - 1]
            rows["instances"].append({
                "id": number, "uuid": text, "host": other,
                "project_id": text, "deleted": 0})
            rows["tags"] += [{"resource_id": text, "tag": tag}
                             for tag in texts]
            rows["services"].append({
                "id": number, "host": text, "topic": other,
                "report_count": 1})
            rows["block_device_mapping"].append({
                "id": number, "instance_uuid": other, "uuid": text,
                "volume_id": text})
        # Two unique keys that would be one if their parts ran together.
        first, second = texts[:2]
        rows["services"] += [
            {"id": 100, "host": first + JOIN + second, "topic": "end",
             "report_count": 1},
            {"id": 101, "host": first, "topic": second + JOIN + "end",
             "report_count": 1}]
        tx = db.begin()
        for table, stored in rows.items():
            for row in stored:
                tx.insert(table, row)
        tx.commit()
        check(databases.open_again(cluster.url(name)), rows, texts, paths)
        pattern = key_pattern(name)
        for key in db.store.scan(b"*" + name.encode() + b"*"):
            assert pattern.fullmatch(key), key
            scenarios.send(db.store, key, b"DEL", key)

    run()
    show("no record under another's name", reads=len(paths))


def check(db, rows, texts, paths):
    """Compare what every access path gives for texts, and texts near them.
    """
    wanted = []
    names = sorted(set().union(*map(near, texts)))
    for name in names:
        wanted += [
            access.ByPartition("instances", (name,)),
            access.ByPartition("tags", (name,)),
            access.ByPartition("block_device_mapping", (name,)),
            access.ByIndex("instances", ("uuid",), ((name,),)),
            access.ByIndex("instances", ("host",), ((name,),)),
            access.ByIndex("instances", ("project_id",), ((name,),)),
            access.ByIndex("block_device_mapping", ("uuid",), ((name,),)),
            access.ByIndex(
                "block_device_mapping", ("volume_id",), ((name,),))]
        wanted += [access.ByKey("tags", ((name, tag),)) for tag in texts]
        wanted += [access.ByIndex("services", ("host", "topic"),
                                  ((name, topic),)) for topic in texts]
    for path, records in zip(wanted, db.begin().load(wanted)):
        found = [record.values for record in records]
        expected = [row for row in rows[path.table] if matches(path, row)]
        assert sorted(map(repr, found)) == sorted(map(repr, expected)), path
    paths += wanted


_PARTITIONED = {"instances": "uuid", "tags": "resource_id",
                "block_device_mapping": "instance_uuid"}


def matches(path, row):
    """Tell whether an access path asks for a row."""
    if isinstance(path, access.ByPartition):
        return row[_PARTITIONED[path.table]] in path.values
    if isinstance(path, access.ByKey):
        return (row["resource_id"], row["tag"]) in path.keys
    return tuple(row[column] for column in path.columns) in path.tuples
