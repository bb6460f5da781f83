# SPDX-License-Identifier: Apache-2.0
"""Files of the counters: forked processes, eventlet, killed processes."""

import os
import subprocess
import sys

from prometheus_client import parser
import pytest

from tests import fixtures
from tests.unit.record import databases

_START = """
import os
import signal
import sys
import time

from nova_kvs import conf
from nova_kvs.record import access
from nova_kvs.record import database as databases

url, directory = sys.argv[1:3]
conf.CONF([], project="nova", prog="nova-test", default_config_files=[])
conf.CONF.set_override("metrics_directory", directory, group="nova_kvs")
conf.CONF.set_override("metrics_interval", 0.1, group="nova_kvs")


def work(scans):
    database = databases.open_database(url)
    for _ in range(scans):
        tx = database.begin()
        tx.load([access.FullScan("notes")])
    return os.path.join(directory, "nova-kvs-nova-test-%d.prom" % os.getpid())


def wait(path, text):
    deadline = time.monotonic() + 60
    while True:
        try:
            with open(path) as stream:
                if text in stream.read():
                    return
        except FileNotFoundError:
            pass
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


# What a scan counts, as the text format has it.
def scans(count):
    return ('nova_kvs_full_scans_total{database="x",pid="%d",'
            'program="nova-test",store="redis://%s"} %d.0' % (
                os.getpid(), url.split("/")[2], count))
"""

_FORK = _START + """
# The parent has a thread and a file when it forks.
wait(work(1), scans(1))
children = []
for number in range(2, 4):
    ready, write = os.pipe()
    pid = os.fork()
    if not pid:
        path = work(number)
        wait(path, scans(number))
        os.write(write, b"1")
        time.sleep(600)
    assert os.read(ready, 1) == b"1"
    children.append(pid)
wait(work(4), scans(5))
# Others are on their way to be renamed.
print(sum(name.endswith(".prom") for name in os.listdir(directory)))
# As a crash, and as oslo.service ends its workers: nothing runs at exit.
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
deadline = time.monotonic() + 60
while END == "later" and len(os.listdir(directory)) > 1:
    assert time.monotonic() < deadline, os.listdir(directory)
    time.sleep(0.05)
print("done")
"""

_EVENTLET = """
import eventlet
eventlet.monkey_patch()
""" + _START + """
ticks = []


def tick():
    while True:
        ticks.append(None)
        eventlet.sleep(0.01)


eventlet.spawn(tick)
wait(work(1), scans(1))
assert ticks
# A greenthread would be copied by a fork.
pid = os.fork()
if not pid:
    eventlet.hubs.use_hub()
    wait(work(2), scans(2))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
wait(work(2), scans(3))
print("done")
"""

_ONCE = _START + """
path = work(3)
wait(path, scans(3))
with open(path) as stream:
    print(stream.read())
"""


@pytest.fixture(scope="module")
def server():
    with fixtures.RedisServerFixture(password="secret") as found:
        databases.make(url=found.url("x"))
        yield found


def run(code, server, directory):
    # The password is not in the URL, so that its host is easily found.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.replace(
            "conf.CONF.set_override", 'conf.CONF.set_override("password", '
            '"secret", group="nova_kvs")\nconf.CONF.set_override', 1),
         server.url("x").replace(":secret@", ""), str(directory)],
        capture_output=True, text=True, timeout=180,
        env=dict(os.environ, PYTHONPATH=os.getcwd()))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("end", ["later", "at the end"])
def test_each_forked_process_has_its_file(end, server, tmp_path):
    code = _FORK.replace("END", repr(end))
    assert run(code, server, tmp_path).split() == ["3", "done"]
    assert os.listdir(tmp_path) == []


def test_greenthreads(server, tmp_path):
    assert run(_EVENTLET, server, tmp_path).split() == ["done"]


def test_what_prometheus_reads(server, tmp_path):
    text = run(_ONCE, server, tmp_path)
    assert "secret" not in text
    found = {sample.name: sample.value
             for family in parser.text_string_to_metric_families(text)
             for sample in family.samples}
    assert found["nova_kvs_full_scans_total"] == 3
    assert found["nova_kvs_store_round_trips_total"] >= 4
    assert found["nova_kvs_store_bytes_in_total"] > 100
    # It ended as it should.
    assert os.listdir(tmp_path) == []
