# SPDX-License-Identifier: Apache-2.0
"""Forked processes and eventlet."""

import os
import subprocess
import sys

import pytest

from tests import fixtures

_FORK = """
import os
import sys

from nova_kvs.store import registry
from nova_kvs.store.redis import raw

store = registry.get_store(sys.argv[1])


def work(name):
    # A reply that was meant for another process would show at once.
    for number in range(150):
        keys = [b"kvs:{db:s:%d-%d}" % (name, slot) for slot in range(4)]
        value = b"%d-%d" % (name, number)
        replies = store.batch(
            [raw.Command(key, (b"SET", key, value)) for key in keys]
            + [raw.Command(key, (b"GET", key)) for key in keys])
        assert replies == [b"OK"] * 4 + [value] * 4, replies


work(0)
children = []
for name in range(1, 4):
    pid = os.fork()
    if not pid:
        try:
            work(name)
        except BaseException as exc:
            print(exc, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(pid)
work(0)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
work(0)
assert store.stats.commands == 3 * 150 * 8, store.stats
print("done")
"""

_EVENTLET = """
import eventlet
eventlet.monkey_patch()
import sys

from nova_kvs.store import registry
from nova_kvs.store.redis import raw

store = registry.get_store(sys.argv[1])
ticks = []


def tick():
    while True:
        ticks.append(None)
        eventlet.sleep(0.01)


def work(name):
    for number in range(30):
        keys = [b"kvs:{db:s:%d-%d}" % (name, slot) for slot in range(4)]
        value = b"%d-%d" % (name, number)
        replies = store.batch(
            [raw.Command(key, (b"SET", key, value)) for key in keys]
            + [raw.Command(key, (b"GET", key)) for key in keys])
        assert replies == [b"OK"] * 4 + [value] * 4, replies
    return name


eventlet.spawn(tick)
threads = [eventlet.spawn(work, name) for name in range(20)]
assert [thread.wait() for thread in threads] == list(range(20))

# While one greenthread waits for a reply the others go on.
before = len(ticks)
key = b"kvs:{db:s:none}"
store.batch([raw.Command(key, (b"BLPOP", key, 1))])
assert len(ticks) > before + 5, ticks

# A greenthread that is killed or timed out leaves nobody its reply.
with eventlet.Timeout(0.2, False):
    store.batch([raw.Command(key, (b"BLPOP", key, 1))])
    raise AssertionError("not timed out")
assert store.batch([raw.Command(key, (b"GET", key))]) == [None]
print("done")
"""


def _run(code, url):
    result = subprocess.run(
        [sys.executable, "-c", code, url], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=120,
        env=dict(os.environ, PYTHONPATH=os.getcwd()))
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines()[-1] == "done"


@pytest.fixture(scope="module", params=["server", "cluster", "sentinel"])
def servers(request):
    with {"server": fixtures.RedisServerFixture,
          "cluster": fixtures.RedisClusterFixture,
          "sentinel": fixtures.RedisSentinelFixture}[
              request.param]() as running:
        yield running


def test_forked_processes_do_not_share_connections(servers):
    _run(_FORK, servers.url("db"))


def test_eventlet(servers):
    _run(_EVENTLET, servers.url("db"))
