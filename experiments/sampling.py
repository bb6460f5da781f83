# SPDX-License-Identifier: Apache-2.0
"""Where the services spend their time: stacks that py-spy samples."""

import collections
import os
import re

from tests.cloud import processes

ROLES = ("api", "conductor", "scheduler", "placement")
#: With 20 a second thirteen py-spy took 380 of 633 CPU seconds that the
#: machine had, and half of 500 boots were not done in time.
_RATE = 5
_WRITE_TIMEOUT_S = 30
#: Packages -> what the table calls their work. A sample counts for the
#: innermost frame that is in one of them, so for whoever called the standard
#: library or a library that is not named.
_PARTS = {
    "KVS: round trips": ("nova_kvs/store", "redis", "hiredis"),
    "KVS: records, transactions": ("nova_kvs/record", "nova_kvs/txn"),
    "KVS: native functions": ("nova_kvs/db",),
    "KVS: dialect": ("nova_kvs/dialect",),
    "SQLAlchemy": ("sqlalchemy", "oslo_db"),
    "MySQL driver": ("pymysql",),
    "Nova's objects": ("nova/objects", "oslo_versionedobjects"),
    "Messages": ("oslo_messaging", "amqp", "kombu"),
    "Requests to others": ("keystoneauth1", "requests", "urllib3"),
    "Routing, policy, schemas": (
        "webob", "routes", "paste", "jsonschema", "oslo_policy",
        "oslo_middleware", "nova/api", "nova/policies", "microversion_parse"),
    "Logging": ("oslo_log", "logging"),
    "Rest of Nova": ("nova",),
    "Rest of Placement": ("placement",),
}
OTHER = "Other"
#: Innermost frames of threads that wait for work.
_WAITING = re.compile(r"\((?:threading|selectors|queue)\.py:\d+\)$")
NAMES = (*_PARTS, OTHER)
_PART_OF = {package: name for name, packages in _PARTS.items()
            for package in packages}
_PACKAGE = re.compile(r"\((?:.*/)?(%s)[/.]" % "|".join(
    # nova/objects before nova.
    sorted(map(re.escape, _PART_OF), key=len, reverse=True)))


class Sampler:
    """Samples the services of a cloud, from its creation to ``take``.

    :param services: dict of role -> processes.
    :param directory: where py-spy writes.
    :raises tests.cloud.processes.ProcessError: if it is not installed.
    """

    def __init__(self, services, directory):
        self._files = collections.defaultdict(list)
        self._spies = []
        for role in ROLES:
            for service in services[role]:
                path = os.path.join(directory, "%s.stacks" % service.name)
                self._files[role].append(path)
                self._spies.append(processes.Process(
                    "py-spy.%s" % service.name, [
                        "py-spy", "record", "--format", "raw", "--nonblocking",
                        "--rate", str(_RATE), "--pid", str(service.pid),
                        "--subprocesses", "--output", path],
                    directory).start())

    def take(self):
        """Stop it.

        A wait for a server's answer counts, one for work does not.

        :returns: dict of role -> {part: share of the samples}.
        """
        for spy in self._spies:
            spy.interrupt()
        for spy in self._spies:
            spy.wait(_WRITE_TIMEOUT_S)
        return {role: _shares(paths) for role, paths in self._files.items()}


def part_of(stack):
    """Return what a stack, as py-spy writes it, is at work on."""
    for frame in reversed(stack.split(";")):
        found = _PACKAGE.search(frame)
        if found:
            return _PART_OF[found.group(1)]
    return OTHER


def _shares(paths):
    counts = collections.Counter()
    for path in paths:
        with open(path) as stream:
            for line in stream:
                stack, _, count = line.rpartition(" ")
                if not _WAITING.search(stack):
                    counts[part_of(stack)] += int(count)
    total = counts.total()
    return {name: round(count / total, 4)
            for name, count in counts.most_common()}
