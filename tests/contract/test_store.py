# SPDX-License-Identifier: Apache-2.0
"""What every driver of the Redis family does, by Redis's own commands."""

import os
import subprocess
import sys
import threading

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store.redis import raw
from nova_kvs.store import registry
from tests import base
from tests.contract import conftest

NASTY = bytes(range(256)) + b"\r\n$3\r\nabc\r\n{}"

INCREMENT = base.script("""
local value = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') + 1
redis.call('HSET', KEYS[1], ARGV[1], value)
return value
""", name="increment")
ECHO = base.script("return {KEYS, ARGV, 7, false, {'a', {'b'}}}",
                   writes=False, name="echo")


@pytest.fixture(scope="session", params=conftest.REDIS_FAMILY)
def servers(request, running):
    """Return the servers of one driver."""
    return running(request.param)


def _call(script, *keys, args=()):
    return raw.ScriptCall(script, keys, tuple(args))


def _in_process(code, *arguments):
    """Run code in another process; return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True,
        stdout=subprocess.PIPE, text=True, timeout=60,
        env=dict(os.environ, PYTHONPATH=os.getcwd())).stdout


_OTHER = """
import sys
from nova_kvs.store import registry
from nova_kvs.store.redis import raw
store = registry.get_store(sys.argv[1])
key = sys.argv[2].encode()
print(store.batch([raw.Command(key, (b"GET", key)),
                   raw.Command(key, (b"SET", key, b"other"))]))
"""


def test_replies_come_in_the_order_of_the_items(store, keys):
    items = []
    for number in range(40):
        key = keys("x", str(number))
        items += [base.command(b"SET", key, b"%d" % number),
                  base.command(b"GET", key)]
    replies = store.batch(items)
    assert replies[::2] == [b"OK"] * 40
    assert replies[1::2] == [b"%d" % number for number in range(40)]


def test_items_of_one_key_keep_their_order(store, keys):
    replies = store.batch(
        [base.command(b"RPUSH", keys("l"), number) for number in range(30)]
        + [base.command(b"LRANGE", keys("l"), 0, -1)])
    assert replies[-1] == [b"%d" % number for number in range(30)]


def test_a_batch_is_one_round_trip(store, keys):
    store.batch([base.command(b"GET", keys("warm"))])
    before = store.stats.round_trips, store.stats.commands
    store.batch([base.command(b"GET", keys("x", str(number)))
                 for number in range(25)])
    assert (store.stats.round_trips, store.stats.commands) == (
        before[0] + 1, before[1] + 25)
    assert store.stats.bytes_out > 0


def test_an_empty_batch(store):
    before = store.stats.round_trips
    assert store.batch([]) == []
    assert store.stats.round_trips == before


def test_bytes_come_back_as_they_were(store, keys):
    key = keys("n") + NASTY.replace(b"{", b"").replace(b"}", b"")
    store.batch([base.command(b"HSET", key, NASTY, NASTY * 300)])
    assert store.batch([base.command(b"HGETALL", key)]) == [
        [NASTY, NASTY * 300]]


def test_reply_types(store, keys):
    assert store.batch([
        base.command(b"GET", keys("none")),
        base.command(b"HSET", keys("h"), b"f", 5),
        base.command(b"HMGET", keys("h"), b"f", b"g"),
        base.command(b"ZADD", keys("z"), 0, b"b", 0, b"a"),
        base.command(b"ZRANGEBYLEX", keys("z"), b"-", b"+"),
        base.command(b"ZRANGEBYLEX", keys("z"), b"(a", b"+", b"LIMIT", 0, 1),
        base.command(b"INCRBY", keys("i"), 20),
        base.command(b"DEL", keys("h")),
    ]) == [None, 1, [b"5", None], 2, [b"a", b"b"], [b"b"], 20, 1]


def test_scripts_get_keys_and_arguments(store, keys):
    assert store.batch([_call(ECHO, keys("a"), keys("b"),
                              args=(NASTY, 12, b""))]) == [
        [[keys("a"), keys("b")], [NASTY, b"12", b""], 7, None,
         [b"a", [b"b"]]]]


def test_scripts_and_commands_mix(store, keys):
    assert store.batch([
        _call(INCREMENT, keys("h"), args=(b"f",)),
        base.command(b"HGET", keys("h"), b"f"),
        _call(INCREMENT, keys("h", "1"), args=(b"f",)),
        _call(INCREMENT, keys("h"), args=(b"f",)),
        _call(ECHO, keys("h"))])[:4] == [1, b"1", 1, 2]
    assert store.batch([base.command(b"HGET", keys("h"), b"f")]) == [b"2"]


def test_a_script_that_the_servers_forgot_is_loaded_again(store, keys):
    tags = [str(number) for number in range(12)]
    calls = [_call(INCREMENT, keys("h", tag), args=(b"f",)) for tag in tags]
    assert store.batch(calls) == [1] * 12
    store.batch([raw.Command(
        keys("h", tag), (b"SCRIPT", b"FLUSH")) for tag in tags])
    assert store.batch(calls) == [2] * 12


def test_an_error_leaves_the_other_items_done(store, keys):
    store.batch([base.command(b"SET", keys("s"), b"v")])
    with pytest.raises(exceptions.StoreReplyError) as caught:
        store.batch([
            base.command(b"SET", keys("before"), b"1"),
            base.command(b"HGET", keys("s"), b"f"),
            base.command(b"SET", keys("behind"), b"2")])
    assert caught.value.command == "HGET"
    assert "WRONGTYPE" in str(caught.value)
    assert store.batch([base.command(b"GET", keys("before")),
                        base.command(b"GET", keys("behind"))]) == [
        b"1", b"2"]


def test_a_failing_script_is_named(store, keys):
    script = base.script("return redis.call('HGET', KEYS[1], 'f')",
                         name="broken")
    store.batch([base.command(b"SET", keys("s"), b"v")])
    with pytest.raises(exceptions.StoreReplyError) as caught:
        store.batch([_call(script, keys("s"))])
    assert caught.value.command == "broken"


def test_scan_finds_each_key_of_a_database_once_or_more(store, database):
    partitions = [keyspace.partition(database, "s", str(number)).key
                  for number in range(60)]
    other = keyspace.partition(database + "x", "s", "0").key
    store.batch([base.command(b"HSET", key, b"f", b"")
                 for key in partitions + [other]])
    found = list(store.scan(keyspace.database_pattern(database), count=7))
    assert set(found) == set(partitions)


def test_close_gives_back_connections_and_is_no_end(store, keys):
    store.batch([base.command(b"SET", keys("k"), b"v")])
    store.close()
    store.close()
    assert store.batch([base.command(b"GET", keys("k"))]) == [b"v"]


def test_threads_share_a_store(store, keys):
    start = threading.Barrier(5)
    seen = []

    def work():
        start.wait()
        for number in range(40):
            seen.extend(store.batch([
                _call(INCREMENT, keys("h", str(number % 4)), args=(b"f",))]))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(list(range(1, 51)) * 4)


def test_check_lists_the_servers(store, servers, has_servers):
    facts = store.check()
    assert facts["driver"] == store.url.driver
    assert bool(facts["servers"]) == has_servers
    for server in facts["servers"]:
        assert server["role"] == "master"
        assert server["maxmemory_policy"] == "noeviction"
        assert server["appendonly"] is False
        assert server["used_memory"] > 0 and server["version"]
        assert server["maxmemory"] == 0
        assert server["rdb_last_bgsave_status"] == "ok"
        assert abs(server["clock_offset_ms"]) < 60000
    assert ("cluster" in facts) == (store.url.driver == "cluster")
    if "cluster" in facts:
        assert facts["cluster"]["cluster_state"] == "ok"


def test_keys_have_addresses_of_servers(store, keys, has_servers):
    known = {server["address"] for server in store.check()["servers"]}
    for number in range(20):
        address = store.address_of(keys("k", str(number)))
        assert address in known or not has_servers


def test_reads_from_replicas_arrive(servers, store, keys, database):
    store.batch([base.command(b"SET", keys("k", str(number)), number)
                 for number in range(20)], replicas=1,
                replicas_timeout_ms=5000)
    reader = registry.get_store(
        servers.url(database), options={"read_from_replicas": True})
    items = []
    for number in range(20):
        key = keys("k", str(number))
        items += [base.command(b"GET", key), _call(ECHO, key)]
    replies = reader.batch(items)
    assert replies[::2] == [b"%d" % number for number in range(20)]
    assert replies[1][0] == [keys("k", "0")]
    # A write in between goes to where writes go.
    assert reader.batch([base.command(b"INCR", keys("k", "3"))]) == [4]


def test_data_of_servers_is_shared_and_outlives_processes(
        url, store, keys, has_servers):
    store.batch([base.command(b"SET", keys("s"), b"mine")])
    seen = _in_process(_OTHER, url, keys("s").decode())
    assert seen.startswith("[b'mine'," if has_servers else "[None,")
    found = store.batch([base.command(b"GET", keys("s"))])
    assert found == [b"other" if has_servers else b"mine"]


# One test for each characteristic, and one of ATOMIC in test_commits. A driver
# without it must not show it by accident.

def test_replicated_commits_wait_for_replicas(store, keys, requires):
    items = [base.command(b"SET", keys("r", str(number)), b"")
             for number in range(20)]
    assert store.batch(items, replicas=1, replicas_timeout_ms=10000) == (
        [b"OK"] * 20 + [1])
    # More than there are: whoever counts says so when the time is over.
    assert store.batch(items, replicas=2, replicas_timeout_ms=20)[-1] == (
        1 if requires("REPLICAS") else 2)
