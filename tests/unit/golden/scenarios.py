# SPDX-License-Identifier: Apache-2.0
"""What is done to databases whose stored bytes are kept as files.

Each scenario gets a World and yields headings: below each of them stands
what is stored then. Its processes take the keys to be on several servers,
as a Redis Cluster has them, so that a commit has all its steps.
"""

from nova_kvs import exceptions
from nova_kvs.record import access
from tests.unit.record import databases

GRACE_MS = 60000
#: Longer than a transaction lives, and than the grace.
LATER_S = 100

SCHEMA = (
    "CREATE TABLE instances (id INTEGER NOT NULL, uuid VARCHAR(36), "
    "project_id VARCHAR(255), user_id VARCHAR(255), host VARCHAR(255), "
    "node VARCHAR(255), vcpus INTEGER, memory_mb INTEGER, hidden BOOLEAN, "
    "vm_state VARCHAR(255), deleted INTEGER, created_at DATETIME, "
    "display_name VARCHAR(255), PRIMARY KEY (id), "
    "CONSTRAINT uniq_instances0uuid UNIQUE (uuid))",
    *databases.DDL[1:-1],
    "CREATE TABLE values_of_all_types (number INTEGER, ratio FLOAT, "
    "text VARCHAR(255), data BLOB, PRIMARY KEY (number, text))",
    "CREATE INDEX all_types_idx ON values_of_all_types (text, ratio, data)",
    databases.DDL[-1],
)

PLACEMENT = (
    "CREATE TABLE consumers (id INTEGER NOT NULL PRIMARY KEY, "
    "uuid VARCHAR(36) NOT NULL, project_id INTEGER NOT NULL, "
    "generation INTEGER, UNIQUE (uuid))",
    "CREATE TABLE allocations (id INTEGER NOT NULL PRIMARY KEY, "
    "resource_provider_id INTEGER NOT NULL, consumer_id VARCHAR(36) "
    "NOT NULL, resource_class_id INTEGER NOT NULL, used INTEGER NOT NULL)",
    "CREATE INDEX allocations_consumer_id_idx ON allocations (consumer_id)",
    "CREATE TABLE resource_providers (id INTEGER NOT NULL PRIMARY KEY, "
    "uuid VARCHAR(36) NOT NULL, name VARCHAR(200), generation INTEGER, "
    "UNIQUE (uuid), UNIQUE (name))",
    "CREATE TABLE key_pairs (id INTEGER NOT NULL PRIMARY KEY, "
    "name VARCHAR(255) NOT NULL, user_id VARCHAR(255) NOT NULL, "
    "UNIQUE (user_id, name))",
    "CREATE TABLE quotas (id INTEGER NOT NULL PRIMARY KEY, "
    "project_id VARCHAR(255), resource VARCHAR(255), hard_limit INTEGER, "
    "UNIQUE (project_id, resource))",
    "CREATE TABLE pci_devices (id INTEGER NOT NULL PRIMARY KEY, "
    "compute_node_id INTEGER NOT NULL, address VARCHAR(12), "
    "instance_uuid VARCHAR(36), deleted INTEGER, "
    "UNIQUE (compute_node_id, address, deleted))",
)

ORDERED = (
    *["CREATE TABLE %s (id INTEGER NOT NULL PRIMARY KEY, "
      "uuid VARCHAR(36), task_state VARCHAR(255), deleted INTEGER, "
      "created_at DATETIME, updated_at DATETIME)" % name
      for name in ("instances", "shadow_instances")],
    "CREATE TABLE console_auth_tokens (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), host VARCHAR(255), expires INTEGER)",
)

PARTS = tuple(
    "CREATE TABLE %s (id INTEGER NOT NULL PRIMARY KEY, %s VARCHAR(36), "
    "deleted INTEGER)" % definition for definition in (
        ("instances", "uuid"), ("shadow_instances", "uuid"),
        ("services", "host")))

HISTORY = (
    PARTS[0],
    "CREATE TABLE instance_metadata (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36))",
    "CREATE TABLE instance_faults (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), deleted INTEGER, created_at DATETIME)",
    "CREATE TABLE instance_actions (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), request_id VARCHAR(255), "
    "created_at DATETIME)",
    "CREATE TABLE instance_actions_events (id INTEGER NOT NULL PRIMARY KEY, "
    "action_id INTEGER)")

LISTS = (
    "CREATE TABLE instances (id INTEGER NOT NULL PRIMARY KEY, "
    "uuid VARCHAR(36), user_id VARCHAR(255), project_id VARCHAR(255), "
    "image_ref VARCHAR(255), vm_state VARCHAR(255), display_name "
    "VARCHAR(255), key_name VARCHAR(255), instance_type_id INTEGER, "
    "availability_zone VARCHAR(255), locked BOOLEAN, deleted INTEGER, "
    "created_at DATETIME)",)

TAGS = (
    "CREATE TABLE instances (id INTEGER NOT NULL PRIMARY KEY, "
    "uuid VARCHAR(36), task_state VARCHAR(255), vm_state VARCHAR(255))",
    "CREATE TABLE tags (resource_id VARCHAR(36) NOT NULL, "
    "tag VARCHAR(80) NOT NULL, PRIMARY KEY (resource_id, tag))")

SERVER = {
    "uuid": "u1", "project_id": "p", "user_id": "x", "host": "h1",
    "node": "h1", "vcpus": 2, "memory_mb": 512, "hidden": 0,
    "vm_state": "active", "deleted": 0,
    "created_at": "2024-05-06 07:08:09.000000", "display_name": "one"}
LONG = "long " * 40


class Stopped(Exception):
    """Raised at a failpoint: the process ends there."""


def _database(world, ddl, one_server=False):
    world.step("schema")
    made = databases.make(ddl, world.url)
    database = databases.another(made, spread=not one_server)
    database.grace_ms = GRACE_MS
    return database


def _stopping(world, name):
    """Return a process that ends at a failpoint."""
    def failpoint(reached):
        if reached == name:
            raise Stopped
    database = databases.open_again(world.url, failpoint, spread=True)
    database.grace_ms = GRACE_MS
    return database


def _commit(world, step, database, *rows):
    """Insert rows of several tables in one transaction."""
    world.step(step)
    tx = database.begin()
    records = [tx.insert(table, row) for table, row in rows]
    tx.commit()
    return records


def _lose(world, failpoint, *deleted):
    """Move a server, by a process that ends at a failpoint.

    :param deleted: (table, key) of records that it would delete.
    """
    other = _stopping(world, failpoint)
    world.step("lost")
    tx = other.begin()
    record = databases.one(tx, "instances", (1,))
    tx.update(record, {**record.values, "host": "h2"})
    for table, key in deleted:
        tx.delete(databases.one(tx, table, key))
    tx.insert("services", {"host": "h2", "topic": "compute"})
    try:
        tx.commit()
    except Stopped:
        pass


def _tidy(world, database):
    """Let housekeeping do all that is left to it."""
    for _turn in range(3):
        world.advance(LATER_S)
        databases.tidy(database)


def _save_and_tidy(world, database, *saves):
    """Change the first server, step by step.

    :param saves: pairs of the step's name and the new values.
    """
    for step, values in saves:
        world.step(step)
        databases.update(database, "instances", (1,), **values)
        yield step
    world.step("housekeeping")
    _tidy(world, database)
    yield "tidied"


def _insert_server(world, database):
    return _commit(
        world, "insert", database,
        ("instances", dict(SERVER)),
        ("instances", {"uuid": "u2", "deleted": 0, "project_id": "p",
                       "created_at": "2024-05-06 07:08:10.000000"}),
        ("instance_metadata", {
            "instance_uuid": "u1", "key": "k", "value": "v"}),
        ("block_device_mapping", {
            "instance_uuid": "u1", "volume_id": "v1", "uuid": "b1"}),
        ("virtual_interfaces", {
            "instance_uuid": "u1", "address": "fa:16:3e:00:00:01",
            "uuid": "n1", "deleted": 0}),
        ("tags", {"resource_id": "u1", "tag": "red"}))


def schema(world):
    """The schema's partition, and what a change of the schema does."""
    database = _database(world, SCHEMA)
    yield "made"
    _commit(world, "rows", database, ("notes", {"author": "a"}),
            ("tags", {"resource_id": "u1", "tag": "red"}))
    world.step("change")
    tx = database.begin()
    notes, = tx.load([access.FullScan("notes")])
    for note in notes:
        tx.delete(note)
    tx.set_schema(
        (*SCHEMA[:-1], "CREATE TABLE remarks (author VARCHAR(255), "
         "text TEXT)", "CREATE INDEX remarks_idx ON remarks (author)"))
    for note in notes:
        tx.insert("remarks", note.values)
    tx.commit()
    yield "a table renamed, an index added"


def tables(world, one_server=False):
    """Tables of one partition: values, indexes, unique keys and ids."""
    database = _database(world, SCHEMA, one_server)
    _commit(
        world, "insert", database,
        ("services", {"host": "h", "topic": "compute", "report_count": 1}),
        ("services", {"host": None, "topic": "compute"}),
        ("services", {"host": "\u00fc{}:", "topic": LONG}),
        ("services", {"id": 2000, "host": "far", "topic": "t"}))
    for number, (ratio, text, data) in enumerate((
            (0.5, "a", b"\x00\xff"), (-1.0, "", b""), (1e300, LONG, None),
            (None, "a\x00b", b"x" * 200))):
        _commit(world, "values", database, ("values_of_all_types", {
            "number": number * (-3) ** 37, "ratio": ratio, "text": text,
            "data": data}))
    _commit(world, "note", database, ("notes", {"text": "no key"}))
    yield "inserted"
    world.step("update")
    databases.update(database, "services", (1,), report_count=2)
    databases.update(database, "services", (2,), host="taken")
    world.step("delete")
    databases.delete(database, "services", (3,))
    yield "changed"
    world.step("take over")
    tx = database.begin()
    tx.delete(databases.one(tx, "services", (1,)))
    tx.insert("services", {"id": 7, "host": "h", "topic": "compute"})
    tx.commit()
    yield "a unique key taken over"


def servers(world):
    """Servers: global indexes, unique keys, directory, queue, tidying."""
    database = _database(world, SCHEMA)
    _insert_server(world, database)
    yield "inserted"
    world.step("children")
    tx = database.begin()
    action = tx.insert("instance_actions", {
        "instance_uuid": "u1", "action": "create"})
    tx.insert("instance_actions_events", {
        "action_id": action.key[0], "event": "schedule"})
    tx.insert("instance_actions_events", {"action_id": 999, "event": "lost"})
    tx.commit()
    _commit(world, "shadow", database,
            ("shadow_instance_actions", {
                "id": 5, "instance_uuid": "u1", "action": "old"}),
            ("shadow_instance_actions_events", {
                "id": 6, "action_id": 5, "event": "older"}))
    yield "rows that follow a parent"
    world.step("move")
    databases.update(database, "instances", (1,), host="h2", vcpus=4)
    world.step("rename")
    databases.update(database, "instances", (1,), display_name="two")
    yield "moved and renamed"
    world.step("soft delete")
    databases.update(database, "instances", (2,), deleted=2)
    world.step("delete")
    databases.delete(database, "block_device_mapping", (1,))
    databases.delete(database, "virtual_interfaces", (1,))
    yield "deleted"
    world.step("housekeeping")
    _tidy(world, database)
    yield "tidied"
    world.step("end")
    databases.delete(database, "instances", (1,), (2,))
    _tidy(world, database)
    yield "servers deleted and tidied"


def placement(world):
    """Partitions of other kinds than servers'."""
    database = _database(world, PLACEMENT)
    _commit(world, "insert", database,
            ("resource_providers", {"uuid": "r1", "name": "host"}),
            ("consumers", {"uuid": "c1", "project_id": 3}),
            ("allocations", {"resource_provider_id": 1, "consumer_id": "c1",
                             "resource_class_id": 0, "used": 2}),
            ("key_pairs", {"name": "key", "user_id": "x"}),
            ("quotas", {"project_id": "p", "resource": "cores",
                        "hard_limit": 5}),
            ("pci_devices", {"compute_node_id": 1, "address": "0:1",
                             "instance_uuid": "u1", "deleted": 0}))
    yield "inserted"
    world.step("delete")
    databases.delete(database, "allocations", (1,))
    world.advance(LATER_S)
    databases.tidy(database)
    yield "deleted"


def pending(world):
    """A process that ends before the commit point, and its successor."""
    database = _database(world, SCHEMA)
    _insert_server(world, database)
    _lose(world, "after_prewrite", ("block_device_mapping", (1,)))
    yield "intents"
    world.step("next")
    world.advance(LATER_S)
    # One that starts now does no housekeeping with its first commit.
    another = databases.another(database, spread=True)
    another.grace_ms = GRACE_MS
    databases.update(another, "instances", (1,), host="h3")
    databases.load(another, access.FullScan("services"))
    yield "aborted by another"
    world.step("housekeeping")
    _tidy(world, database)
    yield "tidied"


def committed(world):
    """A process that ends after the commit point, and its successor."""
    database = _database(world, SCHEMA)
    _insert_server(world, database)
    _lose(world, "after_commit")
    yield "an outcome and intents"
    world.step("housekeeping")
    world.advance(LATER_S)
    databases.tidy(database)
    yield "settled"


def refused(world):
    """Outcomes of commits that the store refuses."""
    database = _database(world, SCHEMA)
    other = databases.another(database, spread=True)
    other.grace_ms = GRACE_MS
    _commit(world, "insert", database,
            ("services", {"host": "h", "topic": "compute"}),
            ("tags", {"resource_id": "u1", "tag": "red"}))
    world.step("loser")
    tx = other.begin()
    record = databases.one(tx, "services", (1,))
    tx.update(record, {**record.values, "report_count": 3})
    world.step("winner")
    databases.update(database, "services", (1,), report_count=4)
    world.step("loser")
    for attempt in (tx.commit, lambda: _commit(
            world, "duplicate", other,
            ("services", {"host": "h", "topic": "compute"}))):
        try:
            attempt()
        except (exceptions.ConflictError, exceptions.DuplicateKeyError):
            continue
        raise AssertionError("was not refused")
    yield "a conflict and a duplicate"
    world.step("delete")
    databases.delete(database, "tags", ("u1", "red"))
    world.step("several")
    tx = database.begin()
    tx.insert("services", {"host": "h", "topic": "compute"})
    tx.insert("tags", {"resource_id": "u1", "tag": "red"})
    tx.insert("tags", {"resource_id": "u1", "tag": "blue"})
    try:
        tx.commit()
    except exceptions.DuplicateKeyError:
        pass
    yield "a duplicate in one of two partitions"


def ordered(world):
    """Format 2 adds ordered indexes."""
    database = _database(world, ORDERED)
    _commit(
        world, "insert", database,
        ("instances", {
            "uuid": "u1", "deleted": 0, "task_state": "spawning",
            "created_at": "2024-05-06 07:08:09.000000"}),
        ("instances", {"uuid": "u2", "deleted": 0}),
        ("console_auth_tokens", {
            "instance_uuid": "u1", "host": "h", "expires": 1700000000}),
        ("shadow_instances", {
            "uuid": "u0", "deleted": 9,
            "created_at": "2024-05-06 07:08:09.000000"}))
    yield "inserted"
    yield from _save_and_tidy(
        world, database,
        ("save", {"updated_at": "2024-05-06 07:30:00.000000"}),
        ("same hour", {"updated_at": "2024-05-06 07:59:59.999999"}),
        ("reboot", {"updated_at": "2024-05-06 08:00:00.000000",
                    "task_state": "rebooting"}))


ordered.version = 2


def parts(world):
    """Format 3 lists the partitions with deleted and with archived rows."""
    database = _database(world, PARTS)
    _commit(
        world, "insert", database,
        ("instances", {"uuid": "u1", "deleted": 0}),
        ("instances", {"uuid": None, "deleted": 7}),
        ("services", {"host": "h", "deleted": 0}),
        ("shadow_instances", {"uuid": "u0", "deleted": 9}))
    yield "inserted"
    world.step("delete")
    databases.update(database, "instances", (1,), deleted=1)
    databases.update(database, "services", (1,), deleted=1)
    yield "deleted"
    world.step("remove")
    databases.delete(database, "instances", (1,))
    databases.delete(database, "services", (1,))
    yield "removed"
    world.step("housekeeping")
    _tidy(world, database)
    yield "tidied"


parts.version = 3


def history(world):
    """Format 4 has indexes in a server's partition, for a long history."""
    database = _database(world, HISTORY)
    when = "2024-05-06 07:08:09.000000"
    _commit(
        world, "insert", database,
        ("instances", {"uuid": "u1", "deleted": 0}),
        ("instance_metadata", {"instance_uuid": "u1"}),
        ("instance_metadata", {"instance_uuid": None}),
        ("instance_faults", {
            "instance_uuid": "u1", "deleted": 0, "created_at": when}),
        ("instance_actions", {
            "instance_uuid": "u1", "request_id": "r", "created_at": when}),
        ("instance_actions_events", {"action_id": 1}))
    yield "inserted"
    world.step("delete")
    databases.update(database, "instance_faults", (1,), deleted=1)
    databases.delete(database, "instance_actions", (1,))
    yield "deleted"


history.version = 4


def lists(world):
    """Format 5 has an index of what lists of servers filter and sort by."""
    database = _database(world, LISTS)
    _commit(
        world, "insert", database,
        ("instances", {
            "uuid": "u1", "user_id": "x", "project_id": "p",
            "image_ref": "", "vm_state": "building", "display_name": "n" * 200,
            "key_name": "k", "instance_type_id": 3,
            "availability_zone": "nova", "locked": 0, "deleted": 0,
            "created_at": "2024-05-06 07:08:09.000000"}),
        ("instances", {"uuid": "u2", "vm_state": "error"}))
    yield "inserted"
    yield from _save_and_tidy(
        world, database,
        ("state", {"vm_state": "active"}), ("lock", {"locked": 1}),
        ("soft delete", {"vm_state": "soft-delete"}),
        ("delete", {"vm_state": "deleted", "deleted": 1}))


lists.version = 5


def tags(world):
    """Format 6 has indexes of servers by tag, task and state."""
    database = _database(world, TAGS)
    _commit(world, "insert", database,
            ("instances", {"uuid": "u1", "task_state": "scheduling",
                           "vm_state": "building"}),
            ("instances", {"uuid": "u2", "task_state": "deleting",
                           "vm_state": "paused"}),
            ("tags", {"resource_id": "u1", "tag": "t"}))
    yield "inserted"
    yield from _save_and_tidy(
        world, database,
        ("boot", {"task_state": "spawning"}),
        ("done", {"task_state": None, "vm_state": "active"}),
        ("reboot", {"task_state": "rebooting"}),
        ("migrate", {"task_state": "migrating"}),
        ("rescue", {"task_state": None, "vm_state": "rescued"}))


tags.version = 6

SCENARIOS = (schema, tables, servers, placement, pending, committed, refused,
             ordered, parts, history, lists, tags)


def at_rest(world, one_server):
    """Return what is left when all is tidied and every outcome is gone."""
    database = _database(world, SCHEMA, one_server)
    _insert_server(world, database)
    world.step("move")
    databases.update(database, "instances", (1,), host="h2", vcpus=4)
    world.step("delete")
    databases.delete(database, "block_device_mapping", (1,))
    world.step("housekeeping")
    for _turn in range(4):
        world.advance(LATER_S)
        databases.tidy(database)
    world.advance(10 * LATER_S)
    return world.dump()
