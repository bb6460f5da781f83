# SPDX-License-Identifier: Apache-2.0
"""Estimates what a cloud needs of Redis, from figures that were measured.

The page about sizing says where each figure comes from; a test compares.
"""

import dataclasses
import math

#: Bytes in Redis of a server: of the twenty that the demo boots (12 kB in
#: partitions, 3 in the indexes inside, 14 in global indexes and tasks, half a
#: kB in the index of lists), times what network, volumes and history of a
#: cloud's servers add.
SERVER_BYTES = 29500
LIKE_A_CLOUD = 2.5
# One that was deleted and not purged takes as much as one that lives.
#: Redis's own CPU time of a booted server, in seconds: 31 ms.
BOOT_CPU_S = 0.031
#: Commits of a booted server.
BOOT_COMMITS = 24.4
#: Commits of a host: its services report every ten seconds, and its
#: resources are looked at once a minute (a compute node, an inventory).
HOST_COMMITS_PER_S = 1 / 10 + 2 / 60
#: Redis's CPU time of a commit outside of boots.
COMMIT_CPU_S = BOOT_CPU_S / BOOT_COMMITS
#: Part of its one CPU that a master may be busy for.
BUSY = 0.5
#: Memory that one master should hold: a copy for a replica, and a restart,
#: are over in a minute or two.
MASTER_BYTES = 8e9
#: Redis needs as much again while it rewrites its append-only file.
REWRITE = 2
LEAST_MASTERS = 3
#: Service processes of a controller: API, conductor, scheduler, console
#: proxies and Placement with a few workers each.
PROCESSES = 24
#: Connections of a process to a master at work: it is seldom that more
#: threads ask one master at the same time.
CONNECTIONS = 10


@dataclasses.dataclass(frozen=True)
class Cloud:
    """A cloud, as its operator sees it.

    :ivar servers: that live at the same time. :ivar history: deleted ones
        that are not purged. :ivar hosts: of nova-compute.
    :ivar boots_per_minute: of a busy hour.
    """

    servers: int
    history: int
    hosts: int
    controllers: int = 3
    sites: int = 1
    boots_per_minute: float = 10.0
    processes: int = PROCESSES


@dataclasses.dataclass(frozen=True)
class Plan:
    """Masters, memory and connections that a cloud needs.

    :ivar data_bytes: of all masters. :ivar master_bytes: maxmemory of each.
    :ivar host_bytes: memory of the host of each.
    :ivar masters: :ivar replicas: of each master.
    :ivar connections: to each server, at most.
    :ivar commits_per_s: of all, in a busy hour.
    :ivar busy: part of one CPU that each master is busy for.
    :ivar notes: what else there is to say.
    """

    data_bytes: int
    master_bytes: int
    host_bytes: int
    masters: int
    replicas: int
    connections: int
    commits_per_s: float
    busy: float
    notes: tuple = ()


def plan(cloud):
    """Return the Plan of a Cloud."""
    data = (cloud.servers + cloud.history) * SERVER_BYTES * LIKE_A_CLOUD
    boots_per_s = cloud.boots_per_minute / 60
    idle_commits = cloud.hosts * HOST_COMMITS_PER_S
    commits = idle_commits + boots_per_s * BOOT_COMMITS
    cpu = idle_commits * COMMIT_CPU_S + boots_per_s * BOOT_CPU_S
    masters = max(LEAST_MASTERS, math.ceil(data / MASTER_BYTES),
                  math.ceil(cpu / BUSY))
    if cloud.sites > LEAST_MASTERS:
        masters = max(masters, cloud.sites)
    # Half as much again: slots are not equally full, and clouds grow.
    each = max(1e8, 1.5 * data / masters)
    replicas = 1 if cloud.sites < 2 else 2
    notes = []
    if cloud.sites == 2:
        notes.append(
            "two sites: the loss of that with the most masters is the loss "
            "of the majority; put a third of the masters elsewhere")
    if cloud.sites > 1:
        notes.append(
            "each master has its replicas on other sites: "
            "commit_replicas = 1 then survives the loss of a site")
    else:
        notes.append("each master's replica is on another host")
    if cloud.history > 10 * max(cloud.servers, 1):
        notes.append("most of it is history: archive and purge more often")
    return Plan(
        int(data), int(each), int(each * REWRITE), masters, replicas,
        cloud.controllers * cloud.processes * CONNECTIONS,
        round(commits, 1), round(cpu / masters, 3), tuple(notes))
