# SPDX-License-Identifier: Apache-2.0
"""Sites, as sets of addresses on loopback, and the links between them.

A server of site B listens on B's address. Processes of site A reach it
under an address of the link from A to B, where a proxy listens on the same
port; the proxy comes to B from the address under which B knows A. So each
site has its own view of the others, and nothing passes by the links.
"""

import json
import os
import subprocess
import sys

from tests.cloud import processes

_ROUTING = os.path.join(os.path.dirname(__file__), "routing")
_STOP_TIMEOUT_S = 5


def address(site):
    """Return the address of a site's servers."""
    return "127.0.%d.1" % (10 + site)


class Network:
    """The sites of an experiment. A context manager.

    :param sites: their number.
    :param traces: directory in which Python processes note what they do, see
        ``experiments.tracer``; None: they do not.
    """

    def __init__(self, sites, traces=None):
        self.sites = range(sites)
        self._traces = traces
        self._popen = None

    def __enter__(self):
        if len(self.sites) > 1:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "experiments.links"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                start_new_session=True)
        return self

    def __exit__(self, *exc_info):
        if self._popen is not None:
            self._popen.stdin.close()
            try:
                self._popen.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()

    def _order(self, **order):
        self._popen.stdin.write(json.dumps(order) + "\n")
        self._popen.stdin.flush()
        line = self._popen.stdout.readline()
        if not line:
            raise processes.ProcessError("the links have ended")
        return json.loads(line)

    def seen_from(self, site, other):
        """Return the address under which a site knows another, or itself."""
        if site == other:
            return address(site)
        return "127.%d.%d.1" % (100 + site, 10 + other)

    def serve(self, site, port):
        """Let all sites reach a server."""
        for other in self.sites:
            if other != site:
                self._order(
                    link=[other, site], server=[address(site), port],
                    listen=[self.seen_from(other, site), port],
                    source=self.seen_from(site, other))

    def env(self, site):
        """Return what a Python process on a site needs in its environment.
        """
        routes = ",".join(
            "%s=%s" % (address(other), self.seen_from(site, other))
            for other in self.sites if other != site)
        env = {}
        if routes:
            env["NOVA_KVS_ROUTES"] = routes
        if self._traces:
            env["NOVA_KVS_TRACES"] = self._traces
        if env:
            env["PYTHONPATH"] = os.pathsep.join(
                [_ROUTING, *filter(None, sys.path)])
        return env

    def set_delay(self, delay_ms):
        """Set how long everything is on its way from site to site."""
        if self._popen:
            self._order(delay_s=delay_ms / 1000)

    def cut(self, site):
        """Let nothing pass to a site or from it."""
        self._order(cut=site)

    def heal(self, site):
        """End a cut: what was held back arrives now."""
        self._order(heal=site)

    def take_stats(self):
        """Return the figures of each link since the last call.

        :returns: dict of "from-to" to dict of ``connections``,
            ``round_trips`` and ``bytes``.
        """
        return self._order(stats=True) if self._popen else {}

    def cpu_s(self):
        """Return the CPU seconds that the links have used."""
        return processes.cpu_s(self._popen.pid) if self._popen else 0.0
