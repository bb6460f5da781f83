# SPDX-License-Identifier: Apache-2.0
"""Rows of one's own, to be counted after servers died.

Nobody else writes or reads them, so that whatever was acknowledged must be
there in the end.
"""

import itertools
import random
import time
import typing

from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from tests.fault import fleet
from tests.fault import workload


#: Applied, but not on as many replicas as it must be.
UNREPLICATED = "unreplicated"


class Entry(typing.NamedTuple):
    """One commit of ``ledger``; times by the monotonic clock, in ns.

    ``rows`` are pairs of a server and a tag; of a mark the tag is a number
    that only grows. ``answered`` tells whether a server decided the commit:
    also if it refused it because it has no replicas.
    """

    begin: int
    end: int
    status: str
    rows: tuple
    answered: bool


def ledger(number, ready, stop, url):
    """Write rows of one's own, in one and two partitions.

    :returns: ``(entries, errors)``.
    """
    database = record_database.open_database(url)
    choose = random.Random(number)
    entries, errors = [], []
    marks = {}
    tags = itertools.count()
    ready.wait(fleet.PATIENCE_S)
    while not stop.is_set():
        tx = database.begin()
        begin = time.monotonic_ns()
        status = workload.COMMITTED
        answered = True
        rows = ()
        try:
            kind = choose.random()
            if kind < 0.5:
                server = "mark%d-%d" % (number, choose.randrange(12))
                mark = marks.get(server, 0) + 1
                records, = tx.load(
                    [access.ByPartition("instance_extra", (server,))])
                row = {"instance_uuid": server, "tag": mark}
                if records:
                    tx.update(records[0], {**records[0].values, **row})
                else:
                    tx.insert("instance_extra", row)
                rows = ((server, mark),)
                marks[server] = mark
            else:
                tag = "%d-%d" % (number, next(tags))
                rows = tuple(
                    ("%s-%d" % (tag, part), tag)
                    for part in range(1 if kind < 0.7 else 2))
                for server, tag in rows:
                    tx.insert("instance_extra", {
                        "instance_uuid": server, "tag": tag})
            tx.commit()
        except exceptions.UnreplicatedError:
            status = UNREPLICATED
        except (exceptions.ConflictError, exceptions.DuplicateKeyError):
            # A commit of unknown outcome came late; or, without
            # commit_replicas, a failover gave out ids again.
            status = workload.REFUSED
        except exceptions.StoreUnavailableError as exc:
            status = workload.REFUSED
            answered = "too few replicas" in str(exc)
            errors.append((time.monotonic_ns(), repr(exc)))
        except exceptions.UndeterminedError as exc:
            status = workload.UNKNOWN
            answered = False
            errors.append((time.monotonic_ns(), repr(exc)))
        entries.append(Entry(
            begin, time.monotonic_ns(), status, rows, answered))
    return entries, errors


def compare(database, entries):
    """Compare what was acknowledged with what is there.

    :param entries: of all processes.
    :returns: dict of ``acknowledged``, ``missing`` (acknowledged commits of
        which something is not there), ``torn`` (commits of which only a
        part is) and ``refused_but_there``.
    """
    found = {record.values["instance_uuid"]: record.values["tag"]
             for record in database.begin().load(
                 [access.FullScan("instance_extra")])[0]}
    result = dict.fromkeys(
        ("acknowledged", "missing", "torn", "refused_but_there"), 0)
    for entry in entries:
        if entry.rows and entry.rows[0][0].startswith("mark"):
            (server, mark), = entry.rows
            there = [int(found.get(server, 0)) >= mark]
        else:
            there = [server in found for server, _ in entry.rows]
            result["torn"] += len(set(there)) > 1
            result["refused_but_there"] += (
                entry.status == workload.REFUSED and any(there))
        if entry.status == workload.COMMITTED:
            result["acknowledged"] += 1
            result["missing"] += not all(there)
    return result
