# SPDX-License-Identifier: Apache-2.0
"""Reads what the services' processes write to ``metrics_directory``.

All processes of a host together: for one HTTP endpoint, and for
``nova-kvs top``, which compares two readings.
"""

import collections
import glob
import os
import typing
import urllib.request

from nova_kvs import exceptions

#: Longest time, in seconds, that an endpoint may take.
_TIMEOUT_S = 10
_PREFIX = "nova_kvs_"


def load_client():
    """Return the module prometheus_client.

    :raises nova_kvs.exceptions.ConfigurationError: if it is not installed.
    """
    try:
        import prometheus_client
        import prometheus_client.parser
    except ImportError as error:
        raise exceptions.ConfigurationError(
            "this command needs prometheus_client: install "
            "nova-kvs[prometheus]") from error
    return prometheus_client


class Directory:
    """The files of a directory, as a collector of prometheus_client.

    :param path: the ``metrics_directory`` of the services.
    """

    def __init__(self, path):
        self._path = path

    def texts(self):
        """Yield what each process has written last."""
        for path in sorted(glob.glob(os.path.join(
                glob.escape(self._path), "nova-kvs-*.prom"))):
            try:
                with open(path, encoding="utf-8") as stream:
                    yield stream.read()
            except FileNotFoundError:
                # Its process has ended.
                continue

    def collect(self):
        """Yield the metrics of all processes, each once."""
        yield from merged(self.texts()).values()


class Endpoint:
    """An HTTP endpoint that serves metrics.

    :param url: as http://controller1:9427/metrics.
    """

    def __init__(self, url):
        if not url.startswith(("http://", "https://")):
            raise exceptions.ConfigurationError(
                "an endpoint is an HTTP URL", endpoint=url)
        self._url = url

    def texts(self):
        """Yield what it serves now."""
        with urllib.request.urlopen(  # nosec B310: the scheme is checked
                self._url, timeout=_TIMEOUT_S) as response:
            yield response.read().decode()


def merged(texts):
    """Return name -> metric of several texts in Prometheus's format."""
    parser = load_client().parser
    found = {}
    for text in texts:
        for family in parser.text_string_to_metric_families(text):
            known = found.setdefault(family.name, family)
            if known is not family:
                known.samples.extend(family.samples)
    return found


class Rate(typing.NamedTuple):
    """Events in a second, by somebody or of some kind."""

    per_s: float
    #: Seconds that each took on average; None where it is not known.
    mean_s: float | None = None


class Reading:
    """The counters of all processes at one moment.

    :param sources: Directories and Endpoints.
    """

    #: Kind of line -> (labels that name it, {figure: sample's name}).
    TIMED = {
        "functions": (("function",), "call_seconds"),
        "databases": (("store", "database"), "commit_seconds"),
        "operations": (("store", "operation"), "store_operation_seconds"),
    }
    COUNTED = {
        "errors": (("database", "kind"), "errors_total"),
        "scans": (("database", "statement"), "scans_total"),
        "clients": (("program", "pid"), "store_round_trips_total"),
    }

    def __init__(self, sources):
        #: (kind, labels, "count" or "sum") -> total.
        self._totals = collections.Counter()
        texts = [text for source in sources for text in source.texts()]
        self.is_empty = not texts
        for family in merged(texts).values():
            for sample in family.samples:
                self._add(sample)

    def _add(self, sample):
        name = sample.name.removeprefix(_PREFIX)
        for kinds, suffixes in ((self.TIMED, ("_count", "_sum")),
                                (self.COUNTED, ("",))):
            for kind, (labels, base) in kinds.items():
                for suffix in suffixes:
                    if name == base + suffix:
                        values = tuple(
                            sample.labels.get(label, "") for label in labels)
                        self._totals[
                            kind, values, suffix or "_count"] += sample.value

    def since(self, before, seconds):
        """Return kind -> {labels' values: Rate} since another Reading.

        A process that came meanwhile counts from its start; what one that
        went has done since is not known.
        """
        found = {kind: {} for kind in (*self.TIMED, *self.COUNTED)}
        for (kind, values, suffix), total in self._totals.items():
            if suffix != "_count":
                continue
            count = total - before._totals[kind, values, suffix]
            if count <= 0:
                continue
            mean_s = None
            if kind in self.TIMED:
                key = kind, values, "_sum"
                mean_s = (self._totals[key] - before._totals[key]) / count
            found[kind][values] = Rate(count / seconds, mean_s)
        return found
