# SPDX-License-Identifier: Apache-2.0
"""Examines if a store is fit for a database: ``nova-kvs check``."""

from nova_kvs.compatibility import releases
from nova_kvs import exceptions
from nova_kvs.inspection import etcd_members
from nova_kvs.inspection import lines
from nova_kvs.inspection import revision
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.record import format as stored_format
from nova_kvs.record import importing
from nova_kvs.store import registry
from nova_kvs.txn import loss_reports
from nova_kvs import wording

#: Read-only scripts are sent with EVALSHA_RO.
OLDEST_VERSION = (7, 0)
CLOCK_WARNING_MS = 1000
#: What a round trip can take, and so no offset.
CLOCK_NOISE_MS = 100
#: A failover takes up to so many times cluster-node-timeout, and this.
FAILOVER_FACTOR = 1.5
ELECTION_S = 1
_LOOPBACK = frozenset(["127.0.0.1", "::1", "localhost"])
INCOMPLETE = "an import from %s is not complete: run it again"
#: Part of maxmemory that may be used.
FULL = 0.9
SLOTS = 16384
#: Functions that a line names.
_NAMED = 10
#: Keys tried to find one on each server.
_PROBES = 2000


Line = lines.Line
Status = lines.Status


def examine(url):
    """Yield a Line for each check.

    Without a store that answers, ``store`` is the only one.

    :param url: nova_kvs.store.url.StoreURL.
    :raises nova_kvs.exceptions.ConfigurationError: if the options of the
        URL contradict each other or there is no such driver.
    """
    store = registry.get_store(url)
    settings = url.settings()
    try:
        facts = store.check()
    except exceptions.KVSError as error:
        yield Line("store", Status.ERROR, " ".join(str(error).split()))
        return
    servers = facts["servers"]
    if servers:
        yield Line("store", Status.OK, "answers: %s" % " ".join(
            server["address"] for server in servers))
        if facts["driver"] == "etcd":
            yield from etcd_members.examine(store, url.database, facts)
            yield from _database(store, url.database, settings)
            return
        yield _version(servers)
        line = _cluster(facts)
        yield line
        if line.text == _WRONG_SCHEME:
            # The rest would be about one node, not about the store.
            return
        yield from _hosts(facts)
        yield from _timeouts(facts, settings)
        yield _replicas(servers, settings)
        yield _eviction(servers)
        yield _memory(servers)
        yield _persistence(servers)
        yield _clock(servers, settings)
        yield _permissions(store, url.database, servers)
    else:
        yield Line("store", Status.WARNING,
                   "is in this process and ends with it: for tests only")
    yield from _database(store, url.database, settings)


_WRONG_SCHEME = ("the server is a node of a Redis Cluster: write "
                 "kvs+cluster:// in the URL")


def _where(servers):
    return ", ".join(server["address"] for server in servers)


def _version(servers):
    old = [server for server in servers
           if _number(server["version"]) < OLDEST_VERSION]
    if old:
        return Line("version", Status.ERROR, "%s: version %s is too old: "
                    "install %d.%d or newer" % (
                        _where(old), old[0]["version"], *OLDEST_VERSION))
    return Line("version", Status.OK, " ".join(
        sorted({server["version"] for server in servers})))


def _number(version):
    parts = (version or "").split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in parts[:2])


def _cluster(facts):
    cluster = facts.get("cluster")
    if cluster is None and any(
            server.get("cluster_enabled") for server in facts["servers"]):
        return Line("cluster", Status.ERROR, _WRONG_SCHEME)
    if cluster is None:
        return Line("cluster", Status.OK, "not a cluster (%s)" % (
            facts["driver"]))
    if cluster.get("cluster_state") != "ok":
        return Line("cluster", Status.ERROR, "its state is %s, %s of %d "
                    "slots are served: see redis-cli --cluster check" % (
                        cluster.get("cluster_state"),
                        cluster.get("cluster_slots_ok"), SLOTS))
    masters = len(facts["servers"])
    failing = [name for name in ("cluster_slots_pfail", "cluster_slots_fail")
               if cluster.get(name, "0") != "0"]
    if failing or int(cluster.get("cluster_slots_assigned", 0)) < SLOTS:
        return Line("cluster", Status.ERROR, "some slots are not served: "
                    "see redis-cli --cluster check")
    if masters < 3:
        return Line("cluster", Status.WARNING, "%s cannot outvote a failed "
                    "one: use three or more" % wording.number(
                        masters, "master"))
    return Line("cluster", Status.OK, "%d masters, all slots are served" % (
        masters))


def _hosts(facts):
    """Yield a Line about hosts of the URL that would not help a start."""
    for name, text in (("silent", "do not answer"),
                       ("strangers", "are no members of this cluster")):
        if facts.get(name):
            yield Line("hosts", Status.WARNING, "of the URL %s: %s: name "
                       "nodes of the cluster with node=host:port" % (
                           text, ", ".join(facts[name])))


def _timeouts(facts, settings):
    """Yield a Line if a failover takes longer than operations wait."""
    node_timeout_ms = facts.get("node_timeout_ms")
    if node_timeout_ms is None:
        # No cluster, or the user may not ask.
        return
    needed_s = FAILOVER_FACTOR * node_timeout_ms / 1000 + ELECTION_S
    if settings.failover_timeout <= needed_s:
        yield Line("timeouts", Status.WARNING, "operations are given up "
                   "after %.1f s (twice request_timeout), a failover takes "
                   "up to %.1f s: lower the servers' cluster-node-timeout "
                   "(%.1f s) or raise request_timeout" % (
                       settings.failover_timeout, needed_s,
                       node_timeout_ms / 1000))


def _shared_hosts(servers):
    """Return the addresses of masters with a replica on their own host."""
    found = []
    for server in servers:
        host = server["address"].rpartition(":")[0]
        # On loopback everything is: somebody tries something out.
        if host not in _LOOPBACK and host in server.get("replica_hosts", ()):
            found.append(server["address"])
    return found


def _replicas(servers, settings):
    least = min(server["replicas"] for server in servers)
    if least < settings.commit_replicas:
        return Line("replicas", Status.ERROR, "commit_replicas is %d, %s "
                    "has %d: commits fail until replicas are added" % (
                        settings.commit_replicas, _where(
                            [server for server in servers
                             if server["replicas"] == least]), least))
    if not least:
        return Line("replicas", Status.WARNING, "none follows %s: a lost "
                    "server takes its data with it: add one, or see INFO "
                    "replication of those that should" % _where(
                        [server for server in servers
                         if not server["replicas"]]))
    shared = _shared_hosts(servers)
    if shared:
        return Line("replicas", Status.WARNING, "%s: a replica is on the "
                    "master's own host and is lost with it: put it on "
                    "another" % ", ".join(shared))
    return Line("replicas", Status.OK, "%d or more of each master" % least)


def _eviction(servers):
    wrong = [server for server in servers
             if server["maxmemory_policy"] != "noeviction"]
    if wrong:
        return Line("eviction", Status.ERROR, "%s: %s throws records away "
                    "when memory is short: set maxmemory-policy noeviction"
                    % (_where(wrong), wrong[0]["maxmemory_policy"]))
    return Line("eviction", Status.OK, "noeviction")


def _memory(servers):
    full = [server for server in servers
            if server["maxmemory"] and (
                server["used_memory"] > FULL * server["maxmemory"])]
    if full:
        return Line("memory", Status.WARNING, "%s: more than %d %% of "
                    "maxmemory is used: raise it or add servers" % (
                        _where(full), 100 * FULL))
    return Line("memory", Status.OK, "%.1f MB used on %s" % (
        sum(server["used_memory"] for server in servers) / 1e6,
        wording.number(len(servers), "server")))


def _persistence(servers):
    for name, what in (("aof_last_write_status", "append-only file"),
                       ("rdb_last_bgsave_status", "snapshot")):
        wrong = [server for server in servers if server[name] != "ok"]
        if wrong:
            return Line("persistence", Status.ERROR, "%s: the last %s could "
                        "not be written: see the server's log and disk" % (
                            _where(wrong), what))
    without = [server for server in servers if not server["appendonly"]]
    if without:
        return Line("persistence", Status.WARNING, "%s: no append-only "
                    "file, a restart loses what came after the last "
                    "snapshot: set appendonly yes" % _where(without))
    return Line("persistence", Status.OK, "appendonly yes")


def _clock(servers, settings):
    worst = max(servers, key=lambda server: abs(server["clock_offset_ms"]))
    offset_ms = worst["clock_offset_ms"]
    if abs(offset_ms) < CLOCK_NOISE_MS:
        return Line("clock", Status.OK, "this host's on all servers")
    text = "%s is %.1f s %s this host" % (
        worst["address"], abs(offset_ms) / 1000,
        "ahead of" if offset_ms > 0 else "behind")
    if abs(offset_ms) >= 1000 * settings.transaction_lifetime:
        return Line("clock", Status.ERROR, text + ": more than "
                    "transaction_lifetime, synchronise the clocks")
    if abs(offset_ms) >= CLOCK_WARNING_MS:
        return Line("clock", Status.WARNING, text + ": synchronise the "
                    "clocks")
    return Line("clock", Status.OK, text)


# Permissions ----------------------------------------------------------------

def _permissions(store, name, servers):
    keys = _keys_on_each(store, name, {
        server["address"] for server in servers})
    for address, key in keys.items():
        try:
            store.rehearse(key)
        except exceptions.KVSError as error:
            return Line("permissions", Status.ERROR, "%s: %s%s" % (
                address, " ".join(str(error).split()), _way_out(error)))
    try:
        next(store.scan(keyspace.database_pattern(name)), None)
    except exceptions.KVSError as error:
        return Line("permissions", Status.ERROR, "listing keys: %s%s" % (
            " ".join(str(error).split()), _way_out(error)))
    return Line("permissions", Status.OK, "reads, writes and scripts")


_FULL = ("memory is full, only what frees it is let through: raise "
         "maxmemory, add servers, or archive and purge deleted servers")
#: Text of a server's reply -> what to do about it; the first that is there.
_WAYS_OUT = (
    ("OOM", _FULL),
    ("maxmemory", _FULL),
    ("MISCONF", "the server cannot write to its disk and takes no writes: "
     "free the disk, see the server's log"),
    ("CLUSTERDOWN", "some slots have no server: see redis-cli --cluster "
     "check and fix"),
    ("Hash slot not served", "some slots have no server: see redis-cli "
     "--cluster check and fix"),
    ("kvs+cluster://", None),
    ("permission", "give the user all commands of the guide's ACL SETUSER"),
    ("NOPERM", "give the user all commands of the guide's ACL SETUSER"),
    ("READONLY", "the server is a replica: name its master, or use "
     "kvs+sentinel:// or kvs+cluster://"),
)


def _way_out(error):
    """Return what to do about the error of a probe, with ": " before it.

    Empty where the error's own text says it, or nothing is known.
    """
    found = str(error)
    return next((": " + advice if advice else "" for reply, advice
                 in _WAYS_OUT if reply in found), "")


def _keys_on_each(store, name, addresses):
    """Return address -> key that does not exist, for each server."""
    found = {}
    for number in range(_PROBES):
        key = keyspace.partition(name, "probe", str(number)).key
        found.setdefault(store.address_of(key), key)
        if len(found) >= len(addresses):
            break
    return found


# The database ---------------------------------------------------------------

def _database(store, name, settings):
    database = record_database.Database(store, name, settings)
    try:
        schema = database.refresh_schema()
    except (exceptions.FormatVersionError,
            exceptions.CorruptRecordError) as error:
        yield Line("format", Status.ERROR, str(error))
        return
    except exceptions.KVSError as error:
        yield Line("format", Status.ERROR, "cannot be read: %s" % (
            " ".join(str(error).split())))
        return
    if not schema.version:
        yield Line("format", Status.ERROR, "the store has no database of "
                   "this name: correct the name, or run nova-manage api_db "
                   "sync, db sync or placement-manage db sync")
        return
    yield _format(schema.state)
    source = importing.source(database.coordinator, name)
    if source is not None:
        yield Line("import", Status.ERROR, INCOMPLETE % source)
    yield from _lost_commits(store, name)
    yield _schema(database, schema)
    yield from _functions(revision.kind_of(schema.tables), settings)


def _lost_commits(store, name):
    """Yield a Line if processes have told of commits that failovers lost."""
    reports = list(loss_reports.reports(store, name).values())
    if reports:
        lost, applied, unknown = (
            sum(report[name] for report in reports)
            for name in ("lost", "applied_again", "unknown"))
        yield Line("lost commits", Status.WARNING, "failovers since %s have "
                   "lost %d (%d were applied again), of %d it is unknown: "
                   "nova-kvs fsck names them, and forgets it with --repair"
                   % (loss_reports.time_of(reports[0]), lost, applied,
                      unknown))


def _format(state):
    if state == stored_format.NEW:
        return Line("format", Status.OK, "version %d" % state.version)
    return Line("format", Status.WARNING, "version %d of %d: some lists read "
                "all servers until nova-kvs upgrade has built the indexes "
                "for them; all services must be of this release then" % (
                    state.built, stored_format.CURRENT))


def _schema(database, schema):
    kind = revision.kind_of(schema.tables)
    stored = None
    if "alembic_version" in schema.tables:
        rows, = database.begin().load([access.FullScan("alembic_version")])
        stored = revision.text_of(
            row.values.get("version_num") for row in rows)
    if kind is None or stored is None:
        return Line("schema", Status.WARNING, "is not one of a service "
                    "that is known here, with a revision: nothing to compare")
    head = revision.head(kind)
    if head is None:
        return Line("schema", Status.OK, "%s, revision %s (%s is not "
                    "installed here: not compared)" % (
                        kind.text, stored, kind.package))
    if stored != head:
        return Line("schema", Status.ERROR, "%s has revision %s, the %s "
                    "installed here wants %s: run %s" % (
                        kind.text, stored, kind.package, head, kind.command))
    return Line("schema", Status.OK, "%s, revision %s" % (kind.text, stored))


def _functions(kind, settings):
    """Yield the Line about what is installed here, if it is."""
    is_native = kind is not None and kind.package in releases.load()
    release = releases.installed(kind.package) if is_native else None
    if release is None:
        return
    unknown = release.unknown()
    if not unknown:
        yield Line("functions", Status.OK, "%d of %s are known and run "
                   "natively" % (release.count_known(), kind.package))
        return
    names = ", ".join(unknown[:_NAMED])
    if len(unknown) > _NAMED:
        names += " and %d more" % (len(unknown) - _NAMED)
    if settings.trust_unknown_releases:
        yield Line("functions", Status.WARNING, "%d of %s are not those of "
                   "a release that this nova-kvs knows and run natively as "
                   "trust_unknown_releases says: %s" % (
                       len(unknown), kind.package, names))
    else:
        yield Line("functions", Status.WARNING, "%d of %s are not those of "
                   "a release that this nova-kvs knows and run on the "
                   "dialect, slower: upgrade nova-kvs: %s" % (
                       len(unknown), kind.package, names))
