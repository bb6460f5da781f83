# SPDX-License-Identifier: Apache-2.0
"""Examines if the members of an etcd cluster are fit for a database."""

from nova_kvs import exceptions
from nova_kvs.inspection.lines import Line
from nova_kvs.inspection.lines import Status
from nova_kvs import keyspace

OLDEST_VERSION = (3, 4)
#: Their members can come to have different data: etcd's own advice is not to
#: run them.
CORRUPTING = ((3, 5, 0), (3, 5, 1), (3, 5, 2))
#: etcd takes no more writes at --quota-backend-bytes, which it does not tell:
#: this is four fifths of the default.
FULL_BYTES = int(0.8 * 2 * 2 ** 30)
#: From this size on, and with this part unused, defragmenting is worth it.
FRAGMENTED_BYTES = 200 * 2 ** 20
FRAGMENTED = 0.6
#: From this revision on, history that was never compacted is much.
MANY_REVISIONS = 100000


def examine(store, name, facts):
    """Yield a Line for each check.

    :param store: nova_kvs.store.etcd.driver.EtcdStore.
    :param name: the database's name.
    :param facts: what ``store.check`` returned.
    """
    yield _version(facts["servers"])
    yield _members(facts)
    yield from _alarms(facts)
    yield _space(facts["servers"])
    yield _compaction(store, facts["servers"])
    yield _permissions(store, name)


def _where(servers):
    return ", ".join(server["address"] for server in servers)


def _number(version):
    parts = version.partition("-")[0].split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in parts[:3])


def _version(servers):
    for server in servers:
        number = _number(server["version"])
        if number in CORRUPTING:
            return Line("version", Status.ERROR, "%s: %s can corrupt data: "
                        "upgrade to 3.5.3 or newer" % (
                            server["address"], server["version"]))
        if number[:2] < OLDEST_VERSION:
            return Line("version", Status.ERROR, "%s: version %s is too old: "
                        "install %d.%d or newer" % (
                            server["address"], server["version"],
                            *OLDEST_VERSION))
    return Line("version", Status.OK, " ".join(
        sorted({server["version"] for server in servers})))


def _members(facts):
    count = len(facts["members"])
    leading = [server for server in facts["servers"] if server["has_leader"]]
    if not leading:
        return Line("members", Status.ERROR, "no leader: a majority of the "
                    "%d members must run and reach each other" % count)
    if facts["unreachable"]:
        return Line("members", Status.WARNING, "of the URL, %s: no answer: "
                    "see etcdctl endpoint health" % (
                        ", ".join(facts["unreachable"])))
    if count < 3:
        return Line("members", Status.WARNING, "%d of them: a lost member "
                    "stops the store: use three or five" % count)
    if count % 2 == 0:
        return Line("members", Status.WARNING, "%d of them survive no more "
                    "losses than %d: use an odd number" % (count, count - 1))
    leader = [server["address"] for server in facts["servers"]
              if server["role"] == "leader"]
    return Line("members", Status.OK, "%d of them, leader: %s" % (
        count, leader[0] if leader else "none of the URL's"))


def _alarms(facts):
    for name, alarm in facts["alarms"]:
        if alarm == "NOSPACE":
            yield Line("alarm", Status.ERROR, "%s: no space, etcd refuses "
                       "writes: compact and defragment, then etcdctl alarm "
                       "disarm" % name)
        else:
            yield Line("alarm", Status.ERROR, "%s: %s: see etcdctl alarm "
                       "list and etcd's log" % (name, alarm))


def _space(servers):
    fragmented = [
        server for server in servers
        if server["used_memory"] > FRAGMENTED_BYTES and (
            server["used_in_data"] < FRAGMENTED * server["used_memory"])]
    if fragmented:
        return Line("space", Status.WARNING, "%s: %.0f of %.0f MB are unused: "
                    "run etcdctl defrag, one member at a time" % (
                        _where(fragmented),
                        (fragmented[0]["used_memory"]
                         - fragmented[0]["used_in_data"]) / 1e6,
                        fragmented[0]["used_memory"] / 1e6))
    largest = max(servers, key=lambda server: server["used_memory"])
    text = "%.1f MB in the largest data file" % (
        largest["used_memory"] / 1e6)
    if largest["used_memory"] > FULL_BYTES:
        return Line("space", Status.WARNING, text + ": see that "
                    "--quota-backend-bytes (2 GB by default) is above it")
    return Line("space", Status.OK, text)


def _compaction(store, servers):
    revision = max(server["revision"] for server in servers)
    if revision > MANY_REVISIONS and not store.is_compacted():
        return Line("compaction", Status.WARNING, "%d revisions and none "
                    "compacted: set --auto-compaction-mode periodic and "
                    "--auto-compaction-retention 1h" % revision)
    return Line("compaction", Status.OK, "revision %d" % revision)


def _permissions(store, name):
    try:
        store.rehearse(keyspace.partition(name, "probe", "0").key)
        next(store.scan(keyspace.database_pattern(name)), None)
    except exceptions.KVSError as error:
        return Line("permissions", Status.ERROR, " ".join(str(error).split()))
    return Line("permissions", Status.OK, "reads and writes")
