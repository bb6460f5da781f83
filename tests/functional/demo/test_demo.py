# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: a process, its output and its exit status."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from tests import fixtures

TIMEOUT_S = 240
PASSWORD = "s3cret-p4ssword"


class DemoProcess:
    """A running demo.

    :param directory: for its temporary files.
    :param arguments: of ``nova-kvs demo``.
    """

    def __init__(self, directory, *arguments):
        self.lines = []
        self._changed = threading.Condition()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "nova_kvs.cmd.main", "demo", *arguments],
            env={**os.environ, "TMPDIR": str(directory)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.popen.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait_for(self, text):
        """Wait for a line that holds a text."""
        deadline = time.monotonic() + TIMEOUT_S
        with self._changed:
            while not any(text in line for line in self.lines):
                assert self.popen.poll() is None, self.lines
                assert time.monotonic() < deadline, self.lines
                self._changed.wait(1)

    def finish(self):
        """Wait for the end; return the exit status."""
        status = self.popen.wait(TIMEOUT_S)
        assert not any("Traceback" in line for line in self.lines)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.popen.kill()
        self.popen.wait()


@pytest.fixture
def redis():
    with fixtures.RedisServerFixture(password=PASSWORD) as server:
        yield server


def check_success(demo, servers):
    assert demo.finish() == 0, demo.lines
    assert demo.lines[-1] == "%d of %d servers ACTIVE" % (servers, servers)
    table = [line.split() for line in demo.lines
             if re.match(r"[0-9a-f]{8}-", line)]
    assert len(table) == servers
    assert {row[2] for row in table} == {"ACTIVE"}
    assert all(row[3].startswith("compute") for row in table)


def check_traces(directory):
    """Only the log stays, and it does not give secrets away."""
    names = os.listdir(directory)
    assert all(name.endswith(".log") for name in names), names
    for name in names:
        text = (directory / name).read_text()
        assert PASSWORD not in text
        # oslo.service's timer of periodic tasks, stopped in the middle of
        # one, finds no interval to wait for and says so with a traceback.
        text = "".join(
            line for line in text.splitlines(keepends=True)
            if " ERROR oslo.service.backend._threading.loopingcall" not in
            line)
        assert "Traceback" not in text


def test_in_this_process(tmp_path):
    figures = tmp_path / "figures.json"
    (tmp_path / "tmp").mkdir()
    with DemoProcess(tmp_path / "tmp", "--servers", "3", "--computes", "2",
                     "--controllers", "2", "--json", str(figures)) as demo:
        check_success(demo, 3)
    found = json.loads(figures.read_text())
    assert found["servers"] == found["active"] == 3
    assert found["seconds"] > 0
    # Each server has at least its own record and one in the API database.
    assert found["records"] > 6
    assert found["round_trips"] > 6
    check_traces(tmp_path / "tmp")


def test_twice_on_the_same_redis(redis, tmp_path):
    for _ in range(2):
        with DemoProcess(tmp_path, "--servers", "2", "--computes", "1",
                         "--url", redis.url("demo")) as demo:
            check_success(demo, 2)
        assert not any(PASSWORD in line for line in demo.lines)
    check_traces(tmp_path)


def fetch(command):
    """Do what a curl command line says; return the decoded answer."""
    words = shlex.split(command)
    assert words[:2] == ["curl", "-s"]
    request = urllib.request.Request(words.pop())
    for option, value in zip(words[2::2], words[3::2]):
        if option == "-H":
            request.add_header(*value.split(": ", 1))
        elif option == "-d":
            request.data = value.encode()
        elif option == "-X":
            request.method = value
        else:
            raise AssertionError("unknown option in %s" % command)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def test_serve(tmp_path):
    with DemoProcess(tmp_path, "--servers", "1", "--computes", "1",
                     "--serve") as demo:
        demo.wait_for("1 of 1 servers ACTIVE")
        show, boot, delete = [
            line for line in demo.lines if line.startswith("curl")]
        deadline = time.monotonic() + TIMEOUT_S
        first, = fetch(show)["servers"]
        new = fetch(boot)["server"]["id"]
        fetch(delete)
        while [server["id"] for server in fetch(show)["servers"]
               if server["status"] == "ACTIVE"] != [new]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert first["id"] in delete
        demo.popen.send_signal(signal.SIGINT)
        assert demo.finish() == 130
    check_traces(tmp_path)


@pytest.mark.parametrize("text", [
    "loading Nova", "setting up the API", "starting compute1",
    "asked for 1 of", "stopping"])
def test_interrupted(text, tmp_path):
    with DemoProcess(tmp_path, "--servers", "2", "--computes", "1") as demo:
        demo.wait_for(text)
        demo.popen.send_signal(signal.SIGINT)
        assert demo.finish() == 130
    names = os.listdir(tmp_path)
    assert all(name.endswith(".log") for name in names), names


def test_no_server_there(tmp_path):
    port, = fixtures.free_ports(1)
    with DemoProcess(tmp_path, "--url",
                     "kvs+redis://127.0.0.1:%d/x" % port) as demo:
        assert demo.finish() == 2
    assert len(demo.lines) == 1
    assert os.listdir(tmp_path) == []


def test_wrong_password(redis, tmp_path):
    url = redis.url("x").replace(PASSWORD, "wr0ng")
    with DemoProcess(tmp_path, "--url", url) as demo:
        assert demo.finish() == 2
    assert len(demo.lines) == 1
    assert "wr0ng" not in demo.lines[0]


def test_server_that_is_no_cluster(redis, tmp_path):
    url = redis.url("x").replace("kvs+redis", "kvs+cluster")
    with DemoProcess(tmp_path, "--url", url) as demo:
        assert demo.finish() == 2
    assert len(demo.lines) == 1
