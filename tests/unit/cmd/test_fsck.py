# SPDX-License-Identifier: Apache-2.0
import json
import os
import threading

import pytest

from nova_kvs.cmd import main
from nova_kvs import exceptions
from nova_kvs.inspection import fsck
from nova_kvs.inspection import walk
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record.indexes import covering_index
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.store import operations
from nova_kvs.txn import loss_reports
from nova_kvs.txn import mutation
from tests import base
from tests.unit.record import databases

LIFETIME_MS = 1000


@pytest.fixture
def db():
    """A database with rows of every kind, tidied up."""
    db = databases.make()
    databases.insert(
        db, "instances",
        {"uuid": "u", "host": "a", "deleted": 0, "project_id": "p"},
        {"uuid": "v", "host": "b", "deleted": 0},
        {"uuid": None, "host": "a"})
    databases.insert(db, "block_device_mapping", {
        "instance_uuid": "u", "uuid": "b", "volume_id": "v"})
    databases.insert(db, "instance_actions", {"instance_uuid": "u"})
    databases.insert(db, "instance_actions_events", {"action_id": 1})
    databases.insert(db, "tags", {"resource_id": "w", "tag": "t"})
    databases.insert(db, "services", {"host": "a", "topic": "t"},
                     {"host": "b", "topic": "t"})
    databases.insert(db, "notes", {"author": "a"})
    databases.tidy(db)
    return db


class Damage:
    """Does what no transaction does."""

    def __init__(self, db):
        self.db = db
        self.server = keyspace.partition(db.name, "s", "u")
        self.services = keyspace.partition(db.name, "t", "services")
        self.instance = self.table("instances").field((1,))

    def table(self, name):
        return self.db.schema.tables[name]

    def run(self, name, key, *args):
        reply, = self.db.store.batch([base.command(name, key, *args)])
        assert reply or name in (b"GET", b"HSET")
        return reply

    def keys(self, part):
        return sorted(
            key for key in self.db.store.scan(
                keyspace.database_pattern(self.db.name))
            if part in key and b"}t" not in key)

    def entry_of(self, host, partition=None, version=1):
        """Return key and member of an entry of the index of hosts."""
        partition = partition or self.server
        table = self.table("instances")
        entry = table.index("host+deleted+created_at+id").entry(
            self.db.name,
            {"host": host, "deleted": 0, "id": 1}, partition, self.instance)
        return entry.key, global_index.member(entry, version, b"nonc")

    def place(self, host, instance=1):
        """Return a Place beside the index of hosts."""
        table = self.table("instances")
        bucket, = table.index("host+deleted+created_at+id").bucket_keys(
            self.db.name, host)
        return covering_index.Place(
            bucket, self.server.key + table.field((instance,)))

    def cover(self, host, version, **values):
        """Write included columns with other values than the row's."""
        included = self.table("instances").included
        row = {"id": 1, "host": "a", "deleted": 0, **values}
        self.db.store.batch([covering_index.including(
            self.place(host), included.encode(row, version))])

    # One method each for a kind of damage -----------------------------------

    def record_undecodable(self):
        self.run(b"HSET", self.server.key, self.instance, b"8bytes88\xc1")

    def record_too_short(self):
        self.run(b"HSET", self.server.key, self.instance, b"x")

    def record_of_another_key(self):
        value = self.run(b"HGET", self.server.key, self.instance)
        self.run(b"HSET", self.server.key,
                 self.table("instances").field((77,)), value)

    def unique_missing(self):
        key, = self.keys(b":u:block_device_mapping.uuid.b}")
        self.run(b"UNLINK", key)

    def unique_missing_inside(self):
        self.run(b"HDEL", self.services.key, keyspace.unique_field(
            "services", "host+topic", ("a", "t")))

    def unique_dangling(self):
        table = self.table("block_device_mapping")
        unique, = table.uniques
        partition = unique.partition(self.db.name, "gone")
        self.run(b"HSET", partition.key, keyspace.unique_field(
            table.name, unique.name, ("gone",)),
            b"\0" * 7 + b"\1" + unique.payload(
                self.server, table.field((99,))))

    def unique_of_another_value(self):
        self.run(b"HSET", self.services.key, keyspace.unique_field(
            "services", "host+topic", ("z", "t")),
            b"\0" * 7 + b"\1" + self.table("services").uniques[0].payload(
                self.services,
                self.table("services").field((1,))))

    def unique_of_a_wrong_holder(self):
        field = keyspace.unique_field(
            "services", "host+topic", ("a", "t"))
        self.run(b"HSET", self.services.key, field,
                 b"\0" * 7 + b"\1" + self.table("services").uniques[0].payload(
                     self.services,
                     self.table("services").field((2,))))

    def unique_undecodable(self):
        self.run(b"HSET", self.services.key, keyspace.unique_field(
            "services", "host+topic", ("a", "t")), b"\0" * 9)

    def index_missing(self):
        entry = self.run(
            b"ZRANGE", self.services.index_key, 0, 0)[0]
        self.run(b"ZREM", self.services.index_key, entry)

    def index_stale(self):
        table = self.table("services")
        index, *_ = table.local_indexes
        self.run(b"ZADD", self.services.index_key, 0, index.entry(
            {"host": "z"}, table.field((1,))))

    def index_of_nothing(self):
        table = self.table("services")
        index, *_ = table.local_indexes
        self.run(b"ZADD", self.services.index_key, 0, index.entry(
            {"host": "z"}, table.field((99,))))

    def index_undecodable(self):
        self.run(b"ZADD", self.services.index_key, 0, b"x")

    def hint_missing(self):
        key = self.keys(b":h:instances.host%2Bdeleted")[0]
        self.run(b"UNLINK", key)

    def hint_stale(self):
        key, member = self.entry_of("elsewhere")
        self.run(b"ZADD", key, 0, member)

    def hint_of_a_later_version(self):
        key, member = self.entry_of("elsewhere", version=2 ** 63)
        self.run(b"ZADD", key, 0, member)

    def hint_dangling(self):
        key, member = self.entry_of(
            "a", keyspace.partition(self.db.name, "s", "gone"))
        self.run(b"ZADD", key, 0, member)

    def hint_undecodable(self):
        self.run(b"ZADD", self.entry_of("a")[0], 0, b"x")

    def mark_missing(self):
        place = self.place("a")
        self.run(b"ZREM", keyspace.minimums_key(place.bucket), place.member)

    def mark_stale(self):
        self.db.store.batch([covering_index.raising(
            self.place("b"), 3)])

    def mark_of_nothing(self):
        self.db.store.batch([covering_index.raising(
            self.place("a", 77), 3)])

    def mark_undecodable(self):
        self.run(b"ZADD", keyspace.minimums_key(self.place("a").bucket), 1,
                 b"x")

    def cover_stale(self):
        self.cover("a", 9, uuid="other")

    def cover_dangling(self):
        self.cover("b", 9)

    def cover_undecodable(self):
        self.db.store.batch([covering_index.including(
            self.place("a"), b"x")])

    def directory_missing(self):
        for key in self.keys(b":h:.s:"):
            self.run(b"UNLINK", key)

    def directory_stale(self):
        partition = keyspace.partition(self.db.name, "s", "gone")
        self.db.store.batch([directory.adding(
            self.db.name, "s", partition, b"nonc")])

    def directory_undecodable(self):
        self.run(b"ZADD", directory.bucket_keys(self.db.name, "s")[0], 0,
                 b"x")

    def intent(self, **changes):
        other = keyspace.partition(self.db.name, "s", "v")
        return b"%016d" % changes.get("start", 1) + mutation.pack_intent(
            b"t" * 16, operations.PUT, 9, other.key, [], [], b"\x80")

    def intent_abandoned(self):
        self.run(b"HSET", self.server.key,
                 keyspace.intent_field(self.instance), self.intent())

    def intent_committed(self):
        """Applied, it is the record; nothing but its values is known."""
        row = self.run(b"HGET", self.server.key, self.instance)
        other = keyspace.partition(self.db.name, "s", "v")
        version = int.from_bytes(row[:8], "big") + 1
        self.run(b"SET", other.outcome_key(b"t" * 16), b"c")
        self.run(b"HSET", self.server.key,
                 keyspace.intent_field(self.instance),
                 b"%016d" % 1 + mutation.pack_intent(
                     b"t" * 16, operations.PUT, version, other.key, [], [],
                     row[8:]))

    def intent_undecodable(self):
        self.run(b"HSET", self.server.key,
                 keyspace.intent_field(self.instance), b"x")

    def outcome_abandoned(self):
        self.run(b"SET", self.server.outcome_key(b"t" * 16), b"c")

    def queue_undecodable(self):
        self.run(b"ZADD", keyspace.gc_key(self.db.name, 3), 10 ** 15,
                 b"\xc1")

    def counter_behind(self):
        self.run(b"SET", keyspace.counter_key(self.db.name, "services"), 1)

    def counter_missing(self):
        self.run(b"UNLINK", keyspace.counter_key(self.db.name, "instances"))


def check(db, quarantine=None):
    """Run fsck as a process that has just been started."""
    return fsck.Fsck(
        databases.another(db), LIFETIME_MS, quarantine).run()


DAMAGE = {
    "record_undecodable": "record-undecodable",
    "record_too_short": "record-undecodable",
    "record_of_another_key": "record-undecodable",
    "unique_missing": "unique-missing",
    "unique_missing_inside": "unique-missing",
    "unique_dangling": "unique-dangling",
    "unique_of_another_value": "unique-dangling",
    "unique_of_a_wrong_holder": "unique-missing",
    "unique_undecodable": "unique-undecodable",
    "index_missing": "index-missing",
    "index_stale": "index-stale",
    "index_of_nothing": "index-stale",
    "index_undecodable": "index-undecodable",
    "hint_missing": "global-index-missing",
    "hint_stale": "global-index-stale",
    "hint_of_a_later_version": "global-index-stale",
    "hint_dangling": "global-index-dangling",
    "hint_undecodable": "global-index-undecodable",
    "mark_missing": "minimum-missing",
    "mark_stale": "minimum-stale",
    "mark_of_nothing": "minimum-stale",
    "mark_undecodable": "minimum-undecodable",
    "cover_stale": "included-stale",
    "cover_dangling": "included-dangling",
    "cover_undecodable": "included-undecodable",
    "directory_missing": "directory-missing",
    "directory_stale": "directory-stale",
    "directory_undecodable": "directory-undecodable",
    "intent_abandoned": "intent-abandoned",
    "intent_committed": "intent-abandoned",
    "intent_undecodable": "intent-undecodable",
    "outcome_abandoned": "outcome-abandoned",
    "queue_undecodable": "queue-undecodable",
    "counter_behind": "counter-behind",
    "counter_missing": "counter-behind",
}


def test_a_counter_that_is_no_number_is_left_alone(db):
    key = keyspace.counter_key(db.name, "services")
    Damage(db).run(b"SET", key, b"many")
    report = check(db, lambda entry: None)
    assert report.found == {"counter-undecodable": 1}
    assert not report.is_clean and not any(report.repaired.values())
    assert Damage(db).run(b"GET", key) == b"many"


def test_a_sound_database_is_clean(db):
    report = check(db)
    assert report.found == {}
    assert report.is_clean
    assert report.records == 10


def test_every_kind_of_damage_is_done():
    done = {name for name in vars(Damage)
            if not name.startswith("_")} - {
                "table", "run", "keys", "entry_of", "intent", "place",
                "cover"}
    assert done == set(DAMAGE)


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_repaired(db, name):
    removed = []
    keys = databases.keys(db)
    getattr(Damage(db), name)()
    looked = check(db)
    assert DAMAGE[name] in looked.found
    assert not looked.is_clean
    assert set(looked.repaired.values()) <= {0}
    repaired = check(db, removed.append)
    assert DAMAGE[name] in repaired.found
    assert repaired.repaired == repaired.found
    assert repaired.is_clean
    again = check(db)
    assert again.found == {}
    assert again.is_clean
    assert bool(removed) == ("undecodable" in DAMAGE[name] and name not in (
        "index_undecodable", "hint_undecodable", "directory_undecodable",
        "queue_undecodable", "mark_undecodable", "cover_undecodable"))
    databases.tidy(db)
    if not removed:
        assert databases.keys(db) == keys


def test_a_look_changes_nothing(db):
    for name in DAMAGE:
        getattr(Damage(db), name)()
    before = dump(db)
    check(db)
    assert dump(db) == before


def dump(db):
    """Return all that is stored, by key."""
    found = {}
    for key in db.store.scan(keyspace.database_pattern(db.name)):
        kind, = db.store.batch([base.command(b"TYPE", key)])
        read = {b"hash": (b"HGETALL", key), b"string": (b"GET", key),
                b"zset": (b"ZRANGE", key, 0, -1, b"WITHSCORES")}[kind]
        found[key], = db.store.batch([base.command(*read)])
    return found


def test_all_damage_at_once(db):
    for name in DAMAGE:
        getattr(Damage(db), name)()
    report = check(db, [].append)
    assert report.is_clean
    assert check(db).found == {}


def test_the_record_that_a_committed_intent_holds(db):
    Damage(db).intent_committed()
    check(db, [].append)
    row, = databases.load(databases.another(db), access.ByKey(
        "instances", ((1,),)))[0]
    assert row["host"] == "a"


def test_what_is_not_repaired(db):
    damage = Damage(db)
    damage.run(b"HSET", damage.server.key, b"rnonsense\0x", b"8bytes88\x80")
    damage.run(b"SET", b"kvs:{%s:nonsense}" % db.name.encode(), b"x")
    report = check(db, [].append)
    assert report.found == {"table-unknown": 1, "key-unknown": 1}
    assert not report.is_clean
    assert sum(report.repaired.values()) == 0


def test_two_records_with_one_unique_key(db):
    """fsck cannot know which of them is right."""
    damage = Damage(db)
    table = damage.table("services")
    value = damage.run(b"HGET", damage.services.key, table.field((1,)))
    damage.run(b"HSET", damage.services.key, table.field((2,)),
               value.replace(b"\xa2id\x01", b"\xa2id\x02"))
    report = check(db, [].append)
    assert report.found["unique-missing"]
    assert not report.is_clean


def test_a_transaction_at_work_is_no_damage(db):
    damage = Damage(db)
    now, = db.store.batch([
        operations.ReadClock(damage.server.key)])
    damage.run(b"HSET", damage.server.key,
               keyspace.intent_field(damage.instance),
               damage.intent(start=int(now) + 10 ** 6))
    assert check(db).found == {}


def test_what_waits_for_housekeeping_is_no_damage():
    db = databases.make()
    db.grace_ms = 10 ** 6
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    databases.update(db, "instances", (1,), host="b")
    databases.delete(db, "instances", (1,))
    report = check(db)
    assert report.found == {}
    assert report.pending > 2


def test_a_cover_that_comes_late_is_no_damage_yet():
    db = databases.make()
    databases.insert(db, "instances", {"uuid": "u", "host": "a", "deleted": 0})
    databases.tidy(db)
    # The check of an earlier write, due when the row has just left.
    databases.update(db, "instances", (1,), host="b")
    reader = databases.another(db)
    reader.grace_ms = db.grace_ms = 10 ** 6
    databases.load(reader, access.ByIndex(
        "instances", ("host", "deleted"), (("b", 0),), True,
        frozenset(["host"])))
    databases.delete(db, "instances", (1,))
    assert db.housekeep()
    late = reader.remembered.take_included()
    assert late
    reader.store.batch(late)
    report = check(db)
    assert report.found == {}
    assert report.pending

    for bucket in range(keyspace.GC_BUCKETS):
        queue = keyspace.gc_key(db.name, bucket)
        for member in db.store.batch([
                base.command(b"ZRANGE", queue, 0, -1)])[0]:
            db.store.batch([base.command(b"ZADD", queue, 0, member)])
    databases.tidy(db)
    assert Damage(db).keys(b"}c") == []


def test_a_wrong_cover_is_damage_whatever_is_queued():
    db = databases.make()
    db.grace_ms = 10 ** 6
    databases.insert(db, "instances", {"uuid": "u", "host": "a", "deleted": 0})
    Damage(db).cover_stale()
    assert check(db).found == {"included-stale": 1}


def test_fsck_while_the_database_is_written(db):
    stop = threading.Event()
    failures = []

    def work(number):
        own = databases.another(db)
        own.grace_ms = 300
        count = 0
        try:
            while not stop.is_set():
                count += 1
                row = {"uuid": "%d-%d" % (number, count), "host": "a",
                       "deleted": 0}
                record, = databases.insert(own, "instances", row)
                databases.insert(own, "services", {
                    "host": row["uuid"], "topic": "t"})
                databases.update(own, "instances", record.key, host="b")
                databases.update(own, "instances", record.key, uuid=(
                    "x" + row["uuid"]))
                databases.delete(own, "instances", record.key)
                own.housekeep()
        except exceptions.ConflictError:
            pass
        except Exception as error:
            # Shown by the test; a thread's own traceback is not.
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        for quarantine in (None, [].append):
            own = databases.another(db)
            own.grace_ms = 300
            report = fsck.Fsck(own, LIFETIME_MS, quarantine).run()
            assert report.details == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    databases.tidy(db)
    assert check(db).found == {}


def test_records_that_a_migration_stores_by_another_key_stay(
        db, monkeypatch):
    """And only the schema of before cannot read them."""
    used = databases.another(db)
    walked = walk.keys

    def keys(store, name):
        if used.schema.version == 1:
            tx = databases.another(db).begin()
            tx.set_schema([
                *databases.DDL[:-1], "CREATE TABLE notes (author "
                "VARCHAR(255) NOT NULL PRIMARY KEY, text TEXT)"])
            tx.commit()
        return walked(store, name)

    monkeypatch.setattr(walk, "keys", keys)
    report = fsck.Fsck(used, LIFETIME_MS, [].append).run()
    assert used.schema.version == 2
    assert report.found == {}
    assert databases.load(used, access.FullScan("notes")) == [[
        {"author": "a"}]]


def test_many_suspects_are_settled_in_between(db, monkeypatch):
    monkeypatch.setattr(fsck, "SUSPECTS", 1)
    damage = Damage(db)
    damage.hint_missing()
    damage.directory_missing()
    damage.index_stale()
    report = check(db, [].append)
    assert report.is_clean
    assert set(report.found) == {
        "global-index-missing", "directory-missing", "index-stale"}


def no_pause(seconds):
    raise AssertionError("waits")


def end_of_outcomes(db):
    """Let a minute go by since the last commit."""
    db.store.batch([
        base.command(b"UNLINK", key) for key in db.store.scan(
            keyspace.database_pattern(db.name)) if b"}t" in key])


def test_nothing_is_waited_for_if_nothing_is_in_flight(db, monkeypatch):
    monkeypatch.setattr(fsck.time, "sleep", no_pause)
    Damage(db).hint_missing()
    end_of_outcomes(db)
    used = databases.another(db)
    used.grace_ms = 10 ** 6
    report = fsck.Fsck(used, LIFETIME_MS).run()
    assert report.found["global-index-missing"]
    # A transaction has just ended: others may be at work.
    databases.insert(db, "notes", {"author": "b"})
    with pytest.raises(AssertionError, match="waits"):
        fsck.Fsck(used, LIFETIME_MS).run()


def test_nothing_is_waited_for_if_housekeeping_will_see_to_it(monkeypatch):
    monkeypatch.setattr(fsck.time, "sleep", no_pause)
    db = databases.make()
    db.grace_ms = 10 ** 6
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    databases.update(db, "instances", (1,), host="b")
    used = databases.another(db)
    used.grace_ms = 10 ** 6
    report = fsck.Fsck(used, LIFETIME_MS).run()
    assert report.found == {}
    assert report.pending


def test_progress_has_a_percentage(db):
    told = []
    fsck.Fsck(databases.another(db), LIFETIME_MS, progress=told.append).run()
    assert told[0] == "counting the keys"
    assert told[1].startswith("99 %, keys: ")


def test_the_checks_of_many_keys_share_round_trips(db):
    used = databases.another(db)
    before = used.store.stats.round_trips
    fsck.Fsck(used, LIFETIME_MS).run()
    assert used.store.stats.round_trips < before + 20


# The command ----------------------------------------------------------------

def run(capsys, db, *arguments):
    status = main.main([
        "fsck", "kvs+memory:///%s?hint_grace=2&transaction_lifetime=1"
        % db.name, *arguments])
    return status, *capsys.readouterr()


def test_exit_status(db, capsys, tmp_path):
    path = tmp_path / "quarantine"
    assert run(capsys, db)[0] == 0
    Damage(db).record_too_short()
    Damage(db).counter_behind()
    status, out, _ = run(capsys, db)
    assert status == 2
    assert "counter-behind: 1 found, 0 repaired" in out
    assert out.endswith("not clean: run it with --repair\n")
    status, out, error = run(
        capsys, db, "--repair", "--json", "--quarantine", str(path))
    assert (status, error) == (1, "")
    document = json.loads(out)
    assert document["clean"]
    assert document["found"]["counter-behind"] == 1
    assert document["repaired"] == document["found"]
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["value"] == "eA=="
    status, out, _ = run(capsys, db)
    assert (status, out.rsplit(": ", 1)[1]) == (0, "clean\n")


def test_commits_that_failovers_lost(db, capsys, tmp_path):
    loss_reports.store_report(db.store, db.name, {
        "at": 0, "lost": 1, "unknown": 2, "applied_again": 0,
        "process": "host nova-api 7", "keys": ["kvs:{db:s:u} rinstances"]})
    status, out, _ = run(capsys, db)
    assert status == 0
    assert out.splitlines()[:2] == [
        "lost commits: 1 lost, 0 of them applied again, 2 unknown "
        "(1970-01-01 00:00:00Z, told by host nova-api 7)",
        "  kvs:{db:s:u} rinstances"]
    status, out, _ = run(capsys, db, "--json", "--repair", "--quarantine",
                         str(tmp_path / "quarantine"))
    assert json.loads(out)["lost_commits"][0]["unknown"] == 2
    assert run(capsys, db)[1].endswith(": clean\n")
    assert "lost" not in run(capsys, db)[1]


def test_findings_of_a_kind_are_told_together(db, capsys):
    for number in range(12):
        Damage(db).run(b"SET", b"kvs:{%s:nonsense%d}" % (
            db.name.encode(), number), b"x")
    Damage(db).counter_behind()
    lines = run(capsys, db)[1].splitlines()
    assert lines[0] == "counter-behind: 1 found, 0 repaired"
    assert lines[2] == "key-unknown: 12 found, 0 repaired"
    assert lines[13] == "  and 2 more: --all tells them"
    assert len([line for line in lines if "nonsense" in line]) == 10
    lines = run(capsys, db, "--all")[1].splitlines()
    assert len([line for line in lines if "nonsense" in line]) == 12


def test_a_quarantine_that_cannot_be_written(db, capsys, tmp_path):
    Damage(db).record_too_short()
    status, _, error = run(capsys, db, "--repair", "--quarantine",
                           str(tmp_path / "missing" / "file"))
    assert status == 2
    assert error.count("\n") == 1
    assert "record-undecodable" in check(db).found


@pytest.mark.parametrize("url", [
    "nonsense", "kvs+memory:///", "kvs+redis://:secret@host:0/x"])
def test_a_wrong_url_is_one_line(url, capsys):
    assert main.main(["fsck", url]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "secret" not in error


def test_name_that_the_store_does_not_have(capsys):
    assert main.main(["fsck", "kvs+memory:///mistyped"]) == 2
    captured = capsys.readouterr()
    assert "mistyped" in captured.err
    assert captured.out == ""
