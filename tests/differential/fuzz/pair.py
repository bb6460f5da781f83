# SPDX-License-Identifier: Apache-2.0
"""Both clouds: each request goes to both, and the answers are compared."""

import concurrent.futures
import http.client
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing
from urllib import parse

from tests.differential.fuzz import served

NOVA, PLACEMENT = 0, 1
#: Seconds for which servers may be on their way to another state.
SETTLE_S = 60

_NAME = re.compile(r"\$\{(\w+)\}")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?"
                   r"[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?"
                   r"(Z|\+00:00)?")
_URL = re.compile(r"http://127\.0\.0\.1:\d+")
#: What is made up anew, or counts seconds.
_RANDOM = frozenset([
    "adminPass", "fingerprint", "hostId", "private_key",
    "OS-EXT-SRV-ATTR:reservation_id", "reservation_id", "uptime",
    "total_hours", "hours", "total_memory_mb_usage", "total_vcpus_usage",
    "total_local_gb_usage", "host_time", "report_count"])


class Request(typing.NamedTuple):
    """A request; ``${name}`` stands for a thing that was made before.

    :ivar api: NOVA or PLACEMENT.
    :ivar path: path and query below the API's root.
    :ivar body: what to send as JSON, None for nothing.
    :ivar makes: where the answer has the id of what was made: name -> keys.
    """

    api: int
    method: str
    path: str
    body: typing.Any = None
    version: str = "2.100"
    makes: typing.Any = None


class Cloud:
    """A cloud in a process of its own.

    :ivar ids: name of a thing -> its id in this cloud.
    """

    def __init__(self, url):
        self._directory = tempfile.mkdtemp(prefix="fuzz-")
        self.ids = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", served.__name__,
             url.format(self._directory), self._directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            # Errors list what is allowed in the order of a set.
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stderr=subprocess.DEVNULL, text=True)

    def wait(self):
        """Wait until it answers."""
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a cloud did not start: see %s" % self.log())
        self._netlocs = [parse.urlsplit(url).netloc
                         for url in json.loads(line)]

    def log(self):
        """Return the path of the log."""
        return os.path.join(self._directory, "log")

    def stop(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait(60)
        if not os.environ.get("KVS_TEST_KEEP"):
            shutil.rmtree(self._directory, ignore_errors=True)

    def send(self, request):
        """Return status and decoded body of a request."""
        headers = {"X-Auth-Token": ("admin" if request.api == PLACEMENT
                                    else served.TOKEN),
                   "Accept": "application/json",
                   "OpenStack-API-Version": "%s %s" % (
                       ("compute", "placement")[request.api],
                       request.version)}
        body = None
        if request.body is not None:
            body = self._filled(json.dumps(request.body))
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(
            self._netlocs[request.api], timeout=120)
        try:
            connection.request(
                request.method, ("/v2.1", "")[request.api]
                + self._filled(request.path), body, headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        try:
            content = json.loads(text) if text else None
        except ValueError:
            content = text
        for name, keys in (request.makes or {}).items():
            found = content
            try:
                for key in keys:
                    found = found[key]
            except (LookupError, TypeError):
                continue
            self.ids[name] = found
        return answer.status, content

    def _filled(self, text):
        return _NAME.sub(
            lambda match: str(self.ids.get(match[1], match[1])), text)

    def plain(self, content, key=None):
        """Return an answer without what differs from cloud to cloud."""
        if isinstance(content, dict):
            return {self._plain_text(name): self.plain(value, name)
                    for name, value in content.items()
                    if name not in _RANDOM and (
                        name != "public_key" or "private_key" not in content)}
        if isinstance(content, list):
            found = [self.plain(value) for value in content]
            # Tags, traits, members: nothing orders them.
            return sorted(found) if all(
                isinstance(value, str) for value in found) else found
        if isinstance(content, str):
            return self._plain_text(content)
        if key == "id" and isinstance(content, int):
            return "<id>"
        return content

    def _plain_text(self, text):
        for name, value in self.ids.items():
            if isinstance(value, str):
                text = text.replace(value, "<%s>" % name)
            else:
                text = re.sub(r"(?i)\b(aggregate|id) %d\b" % value,
                              r"\1 <%s>" % name, text)
        text = _URL.sub("<url>", text)
        return _UUID.sub("<uuid>", _TIME.sub("<time>", text))

    def settle(self):
        """Wait until no server is on its way; return their states."""
        deadline = time.monotonic() + SETTLE_S
        pauses = itertools.chain((0.02, 0.05, 0.1), itertools.repeat(0.2))
        while True:
            _status, content = self.send(Request(
                NOVA, "GET", "/servers/detail?all_tenants=1&limit=500"))
            found = {(one["name"], one["id"]):
                     (one["status"], one["OS-EXT-STS:task_state"],
                      one["OS-EXT-SRV-ATTR:host"])
                     for one in content["servers"]}
            if not any(state in ("BUILD", "DELETED") or task
                       for state, task, _host in found.values()):
                return sorted(
                    (name, *state) for (name, _), state in found.items())
            if time.monotonic() > deadline:
                return "not settled: %s" % found
            time.sleep(next(pauses))

    def tidy(self):
        """Delete the servers that have no name in ``ids``."""
        _status, content = self.send(Request(
            NOVA, "GET", "/servers?all_tenants=1"))
        for server in content["servers"]:
            if server["id"] not in self.ids.values():
                self.send(Request(NOVA, "DELETE", "/servers/" + server["id"]))
        self.settle()


class Pair:
    """A cloud on SQLite and one on the embedded store."""

    def __init__(self):
        self.clouds = [Cloud("sqlite:///{}/db"), Cloud("kvs+memory:///fuzz")]
        self.requests = 0
        try:
            for cloud in self.clouds:
                cloud.wait()
            self._threads = concurrent.futures.ThreadPoolExecutor(2)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """End both clouds."""
        for cloud in self.clouds:
            cloud.stop()

    def both(self, function):
        """Return what a function returns for each of the two clouds."""
        return list(self._threads.map(function, self.clouds))

    def difference(self, request):
        """Return how the answers to a request differ, None if they do not."""
        self.requests += 1
        self.status = None
        answers = self.both(lambda cloud: cloud.send(request))
        self.status = answers[0][0]
        reference, ours = (
            (status, cloud.plain(content))
            for cloud, (status, content) in zip(self.clouds, answers))
        if reference == ours and request.method != "GET":
            reference, ours = self.both(lambda cloud: cloud.settle())
        if reference == ours:
            return None
        return "%s %s %s %s\n SQLite: %s\n KVS:    %s" % (
            request.version, request.method, request.path,
            json.dumps(request.body), *_different(reference, ours))


def _different(one, other):
    """Return the parts of two answers that differ."""
    while type(one) is type(other):
        if isinstance(one, dict) and one.keys() == other.keys():
            keys = [key for key in one if one[key] != other[key]]
        elif isinstance(one, (list, tuple)) and len(one) == len(other):
            keys = [at for at in range(len(one)) if one[at] != other[at]]
        else:
            break
        one, other = one[keys[0]], other[keys[0]]
    return one, other
