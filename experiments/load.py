# SPDX-License-Identifier: Apache-2.0
"""Asks a cloud for servers, and watches what becomes of them."""

from concurrent import futures
import dataclasses
import statistics
import threading
import time

from nova_kvs.demo import client
from tests.cloud import deployment

_PAUSE_S = 0.5
#: Longer than Nova waits for an answer to a message (60 s): what is being
#: built after so long without any progress never will be.
_STUCK_S = 90


@dataclasses.dataclass
class Request:
    """One request to boot a server."""

    controller: str
    #: Since the first request.
    at_s: float
    seconds: float = 0.0
    server_id: str | None = None
    #: What was answered instead of a server.
    error: str | None = None


@dataclasses.dataclass
class Boots:
    """What came of all requests."""

    requests: list
    #: From the first request until no server was being built any more.
    seconds: float
    #: server id -> what the API says about it, of those that are new.
    servers: dict

    @property
    def active(self):
        """Ids of the servers that run."""
        return [key for key, server in self.servers.items()
                if server["status"] == "ACTIVE"]


class _Gate:
    """Holds requests back while many servers are being built.

    :param limit: of servers; None for no limit.
    """

    def __init__(self, limit):
        self.limit = limit
        self._changed = threading.Condition()
        self._asked = 0
        self._room = limit

    def enter(self):
        """Wait until one more server may be asked for."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._room is None or self._asked < self._room)
            self._asked += 1

    def see(self, answered, building):
        """Take note of what is being built.

        :param answered: requests that had been answered before.
        :param building: servers that the API said are.
        """
        with self._changed:
            self._room = answered - building + self.limit
            self._changed.notify_all()

    def open(self):
        """Let everything through from now on."""
        with self._changed:
            self._room = None
            self._changed.notify_all()


def boot(cloud, count, concurrency, timeout_s, building=None):
    """Ask all controllers for servers at once and wait for them.

    :param cloud: a Cloud that runs.
    :param count: of servers, shared out evenly.
    :param concurrency: requests at once for each controller.
    :param timeout_s: longest time for all of it.
    :param building: no more are asked for while so many are being built, at
        most 1000; None for no limit.
    :returns: Boots.
    """
    flavor_id = cloud.client.ensure_flavor()
    shares = [range(number, count, len(cloud.controllers))
              for number in range(len(cloud.controllers))]
    before = {server["id"] for server in _patiently(cloud.client.servers)}
    start = time.monotonic()
    requests = []
    lock = threading.Lock()
    gate = _Gate(building)

    def ask(controller, api, number):
        gate.enter()
        request = Request(controller, time.monotonic() - start)
        body = client.server_body("server-%d" % number, flavor_id)
        zone = cloud.zone_of(controller)
        if zone:
            body["availability_zone"] = zone
        try:
            request.server_id = api.request(
                "POST", "/servers", {"server": body})["server"]["id"]
        except (client.APIError, OSError) as error:
            request.error = str(error) or type(error).__name__
        request.seconds = time.monotonic() - start - request.at_s
        with lock:
            requests.append(request)

    pools = []
    try:
        for controller, share in zip(cloud.controllers, shares):
            pool = futures.ThreadPoolExecutor(concurrency)
            pools.append(pool)
            api = client.Client(
                [cloud.api_url(controller)], deployment.TOKEN)
            for number in share:
                pool.submit(ask, controller, api, number)
        end = _wait_built(cloud, requests, count, start, timeout_s, gate)
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        gate.open()
    return Boots(list(requests), end - start, {
        server["id"]: server for server in _patiently(cloud.client.servers)
        if server["id"] not in before})


def _wait_built(cloud, requests, count, start, timeout_s, gate):
    """Wait until no server is being built, or nothing happens any more.

    :returns: when something happened last.
    """
    last, changed = None, start
    took = 0
    while time.monotonic() - start < timeout_s:
        # Asking must not become a load of its own.
        time.sleep(max(_PAUSE_S, 5 * took))
        cloud.group.check()
        now = time.monotonic()
        answered = len(requests)
        if answered < count and gate.limit is None:
            continue
        try:
            building = len(cloud.client.request(
                "GET", "/servers?status=BUILD&limit=1000")["servers"])
        except (client.APIError, OSError):
            continue  # during a cut; what happened shows at the end
        took = time.monotonic() - now
        if gate.limit is not None:
            gate.see(answered, building)
        if (answered, building) != last:
            last, changed = (answered, building), now
        if (answered == count and not building) or now - changed > _STUCK_S:
            break
    return changed


def _patiently(function, tries=3):
    """Call a function of the API again if it fails."""
    for left in reversed(range(tries)):
        try:
            return function()
        except (client.APIError, OSError):
            if not left:
                raise
            time.sleep(1)


def percentiles(values):
    """Return the median and the 95th percentile, in seconds."""
    if len(values) < 2:
        return {"p50_s": values[0] if values else None,
                "p95_s": values[0] if values else None}
    return {"p50_s": round(statistics.median(values), 4),
            "p95_s": round(statistics.quantiles(values, n=20)[-1], 4)}


def time_reads(cloud, boots, count=10):
    """Time requests that read, one after the other.

    :returns: dict of what was asked for to percentiles.
    """
    some = boots.active[:count]
    kinds = {
        "show": [lambda key=key: cloud.client.server(key) for key in some],
        "list": [lambda: cloud.client.request(
            "GET", "/servers/detail?limit=50")] * len(some),
    }
    found = {}
    for name, calls in kinds.items():
        seconds = []
        for call in calls:
            begin = time.monotonic()
            _patiently(call)
            seconds.append(time.monotonic() - begin)
        found[name] = percentiles(seconds)
    return found
