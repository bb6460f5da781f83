# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
import threading

import pytest

from nova_kvs import exceptions
from nova_kvs.store.redis import memory
from nova_kvs.store.redis import raw
from nova_kvs.store import registry
from tests import base

KEY = b"kvs:{k}"

_WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from nova_kvs import exceptions
from nova_kvs.store import registry
for url in ("kvs+memory:///name", "kvs+redis://localhost/name"):
    try:
        print(type(registry.get_store(url)).__name__)
    except exceptions.ConfigurationError as error:
        print(error)
"""


@pytest.mark.parametrize("module", ["fakeredis", "lupa"])
def test_what_is_missing_is_named(module):
    """And the other stores do without it."""
    shown = subprocess.run(
        [sys.executable, "-c", _WITHOUT, module], capture_output=True,
        check=True, text=True).stdout.splitlines()
    assert shown == [
        "kvs+memory needs fakeredis with Lua: install nova-kvs[memory]",
        "ServerStore"]


def test_data_belongs_to_the_name_and_outlives_close():
    url = base.memory_url()
    store = registry.get_store(url)
    store.batch([base.command(b"SET", KEY, b"v")])
    store.close()
    assert store.batch([base.command(b"GET", KEY)]) == [b"v"]
    again = type(store)(store.url, store.settings)
    assert again.batch([base.command(b"GET", KEY)]) == [b"v"]
    other = registry.get_store(base.memory_url())
    assert other.batch([base.command(b"GET", KEY)]) == [None]


def test_replies_are_those_of_resp2():
    store = registry.get_store(base.memory_url())
    assert store.batch([
        base.command(b"HSET", KEY, b"f", b"v"),
        base.command(b"HGETALL", KEY),
        base.command(b"ZADD", KEY + b"x", 0, b"m"),
        base.command(b"ZSCORE", KEY + b"x", b"m"),
    ]) == [1, [b"f", b"v"], 1, b"0"]


def test_a_flushed_script_is_loaded_again():
    store = registry.get_store(base.memory_url())
    call = raw.ScriptCall(
        base.script("return redis.call('INCR', KEYS[1])"), (KEY,), ())
    assert store.batch([call]) == [1]
    store.batch([raw.Command(KEY, (b"SCRIPT", b"FLUSH"))])
    assert store.batch([call]) == [2]


def test_there_is_no_replica_to_wait_for():
    store = registry.get_store(base.memory_url())
    assert store.batch(
        [base.command(b"SET", KEY, b"v")], replicas=2) == [b"OK", 2]
    assert store.check() == {"driver": "memory", "servers": []}


def test_an_error_does_not_spoil_the_connection():
    store = registry.get_store(base.memory_url())
    store.batch([base.command(b"SET", KEY, b"v")])
    for _ in range(3):
        with pytest.raises(exceptions.StoreReplyError, match="WRONGTYPE"):
            store.batch([base.command(b"HGET", KEY, b"f"),
                         base.command(b"GET", KEY)])
    assert store.batch([base.command(b"GET", KEY)]) == [b"v"]


def test_threads_lose_no_increment():
    store = registry.get_store(base.memory_url())
    call = raw.ScriptCall(base.script(
        "local n = redis.call('GET', KEYS[1]) or 0\n"
        "redis.call('SET', KEYS[1], n + 1)\nreturn n + 1"), (KEY,), ())
    start = threading.Barrier(4)
    seen = []

    def work():
        start.wait()
        for _ in range(50):
            seen.extend(store.batch([call]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 201))


def test_size_counts_values():
    assert memory.size([b"abc", None, 7, [b"d"]]) == 20
    assert memory.size([[b"abc", b"de"], b"", [None, b"f"]]) == 14
    assert memory.size([]) == 0
