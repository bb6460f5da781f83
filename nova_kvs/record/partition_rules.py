# SPDX-License-Identifier: Apache-2.0
"""Rules: the column that partitions a table, and its global indexes.

The one declarative table of the layer. A table that it does not name is one
partition and needs no global indexes: its SQL indexes are kept inside it.
Names of tables and columns are Nova's and Placement's; a column that a
release does not have drops the rule or index that names it.
"""

import collections
import typing

#: Kinds of partitions.
SERVER = "s"
TABLE = "t"
UNIQUE = "u"
META = "m"
CONSUMER = "c"
PROVIDER = "a"
NODE = "n"
USER = "k"
PROJECT = "p"

#: Kinds whose partitions are there with what they are named by.
MUST_EXIST = (SERVER, CONSUMER)

#: Kinds whose partitions are listed in a directory (the others' are known
#: from the schema).
LISTED = (SERVER, CONSUMER, PROVIDER, NODE, USER, PROJECT)

#: Kinds whose records are read all the time, most of them unchanged.
#: Flavors, services, cells and the like, and what servers hold of hosts.
CACHED = (TABLE, PROVIDER)

#: Slices of the directory of one kind.
DIRECTORY_BUCKETS = 16

_COPY_PREFIXES = ("_alembic_tmp_", "shadow_")


class Global(typing.NamedTuple):
    """A global index: one across partitions.

    Rows whose first column is NULL are not in it. It is stored in one
    sorted set for each value of the first column, or ``buckets`` of them
    where one value has many rows.
    """

    columns: tuple
    buckets: int = 1
    #: ``(column, value)``: only rows that have it are in the index.
    only: tuple | None = None
    #: Values of the first column: rows that have one are not in the index.
    without: tuple = ()
    #: It includes the columns of ``Rule.covered``.
    covering: bool = False
    #: It is an ordered index: not stored by the first column's values, and
    #: with all rows in it.
    ordered: bool = False
    #: Pairs of a column and the characters of its text that are stored.
    coarse: tuple = ()
    #: The format that brought it: databases of earlier ones lack it.
    since: int = 1
    #: Of an index whose columns make too long a name.
    name: str | None = None


class Local(typing.NamedTuple):
    """An index of a table's rows in each partition that has some.

    It has the rows of a partition that its first column, or the row's parent,
    names. Writing an entry costs no command of its own.
    """

    columns: tuple
    #: The format that brought it: databases of earlier ones lack it.
    since: int = 4


class Covered(typing.NamedTuple):
    """The columns that covering indexes include, see ``record.indexes``.

    Each column costs those who write it a round trip, if nothing else does.
    Whoever adds one makes a new format: older writers raise no
    minimum version for it.
    """

    #: ``(column, value)``: of the rows that have it.
    only: tuple
    #: Columns, beside those of the covering indexes.
    columns: tuple
    #: ``(column, value)``: only whether the column has the value.
    states: tuple = ()


class Rule(typing.NamedTuple):
    """A table's partition column and its indexes."""

    kind: str
    column: str
    indexes: tuple = ()
    #: Table whose record with the id ``column`` shares its partition.
    parent: str | None = None
    covered: Covered | None = None
    #: Its rows only get more as long as a server is there, and few of them
    #: are asked for along with it.
    is_history: bool = False
    #: Of Local: for tables that are history.
    local: tuple = ()


_ID = Global(("id",))
#: A time's characters up to the hour.
_HOUR = 13
# What paging through a list sorts by; nothing here changes when a server
# is merely saved.
_LIVE = Global(("deleted", "created_at", "id"), 8, ("deleted", 0))
# Written once for a row. Deleted rows are in it, too: markers of other
# cells are looked for among these.
_CREATED = Global(("created_at", "id"), 8, ordered=True, since=2)
# For few rows of many partitions: where they are.
_FEW = _CREATED._replace(buckets=1)
# What changed since a moment. Who saves a row writes an entry once an hour.
_CHANGED = Global(("updated_at",), 8, ordered=True,
                  coarse=(("updated_at", _HOUR),), since=2)
# What lists of all projects filter and sort by, in the order in which the API
# shows them. No boot changes any of it once the row is there: the device name
# of a root disk and all that tells of a server's state are left out.
_LISTED = Global((
    "deleted", "created_at", "id", "display_name", "user_id", "project_id",
    "image_ref", "instance_type_id", "key_name", "availability_zone",
    "locked"), 8, ordered=True, since=5, name="list")
# States that a server seldom has: a boot that succeeds writes no entry.
_IN_ERROR, _RESTORABLE = (
    Global(("vm_state",), only=("vm_state", state), since=5,
           name="vm_state." + state) for state in ("error", "soft-delete"))
# What is done to servers, but for what each boot goes through: these four
# would cost it four entries more. Other work on a server writes one for each
# state (a deletion, a migration: one).
_BUSY = Global(
    ("task_state",), without=(
        "scheduling", "networking", "block_device_mapping", "spawning"),
    since=6, name="task_state.busy")
# States that few servers are in: of one that many are in a page is found
# sooner among all servers, in the order of their creation.
_UNUSUAL = Global(
    ("vm_state",), without=(
        "building", "active", "stopped", "shelved_offloaded", "error",
        "soft-delete", "deleted"),
    since=6, name="vm_state.unusual")

RULES = {
    # The servers of a cell.
    "instances": Rule(SERVER, "uuid", (
        _ID,
        Global(("project_id", "deleted", "created_at", "id"), covering=True),
        Global(("host", "deleted", "created_at", "id"), covering=True),
        _LIVE, _CREATED, _CHANGED,
        # Each compute looks for servers that hang in a reboot.
        Global(("task_state",), only=("task_state", "rebooting"), since=2),
        # Servers that failed, and those that may still be restored.
        _IN_ERROR, _RESTORABLE, _LISTED, _BUSY, _UNUSUAL
    ), covered=Covered(
        ("deleted", 0),
        # What quotas count, and lists of UUIDs.
        ("uuid", "user_id", "vcpus", "memory_mb", "hidden", "node"),
        (("vm_state", "soft-delete"),))),
    "instance_extra": Rule(SERVER, "instance_uuid"),
    "instance_info_caches": Rule(SERVER, "instance_uuid"),
    "instance_metadata": Rule(SERVER, "instance_uuid"),
    "instance_system_metadata": Rule(SERVER, "instance_uuid"),
    "instance_faults": Rule(
        SERVER, "instance_uuid", is_history=True, local=(
            Local(("instance_uuid", "deleted", "created_at", "id")),)),
    "instance_id_mappings": Rule(SERVER, "uuid", (_ID,)),
    "instance_actions": Rule(
        SERVER, "instance_uuid", (_ID,), is_history=True, local=(
            Local(("instance_uuid", "request_id")),
            Local(("instance_uuid", "created_at", "id")))),
    "instance_actions_events": Rule(
        SERVER, "action_id", parent="instance_actions", is_history=True,
        local=(Local(("action_id",)),)),
    "block_device_mapping": Rule(SERVER, "instance_uuid", (
        _ID, Global(("volume_id",)))),
    "virtual_interfaces": Rule(SERVER, "instance_uuid", (
        Global(("uuid",)), Global(("address",)), _ID._replace(since=2))),
    "migrations": Rule(SERVER, "instance_uuid", (
        _ID, Global(("source_compute",)), Global(("dest_compute",)), _LIVE,
        _CREATED, _CHANGED)),
    "console_auth_tokens": Rule(SERVER, "instance_uuid", (
        Global(("host",)), Global(("expires",), ordered=True, since=2))),
    "security_group_instance_association": Rule(SERVER, "instance_uuid", (
        Global(("security_group_id",)),)),
    "share_mapping": Rule(SERVER, "instance_uuid", (
        Global(("share_id",)), _FEW)),
    "tags": Rule(SERVER, "resource_id", (Global(("tag",), since=6),)),
    "pci_devices": Rule(NODE, "compute_node_id", (
        _ID, Global(("instance_uuid",)))),
    # The API database.
    "instance_mappings": Rule(SERVER, "instance_uuid", (
        _ID, Global(("project_id",)), Global(("cell_id",), 8, since=2))),
    "build_requests": Rule(SERVER, "instance_uuid", (
        _ID, Global(("project_id",)), _FEW)),
    "request_specs": Rule(SERVER, "instance_uuid", (_ID,)),
    "key_pairs": Rule(USER, "user_id"),
    "quotas": Rule(PROJECT, "project_id"),
    "project_user_quotas": Rule(PROJECT, "project_id"),
    # Placement. It sums up what is allocated of each provider for every
    # server that is to be placed.
    "consumers": Rule(CONSUMER, "uuid", (_ID, Global(("project_id",)))),
    "allocations": Rule(PROVIDER, "resource_provider_id", (
        _ID, Global(("consumer_id",)))),
}

#: Ids by which nobody looks for a row: each index of them would cost a boot
#: an entry a row, and it writes some twenty of them.
_NO_IDS = "rows are read with their server, user, project or token"
#: Column -> why an index of Nova's or Placement's that begins with it has no
#: counterpart, for the tables of ``RULES``.
WITHOUT = {
    "console_auth_tokens": {"id": _NO_IDS},
    "instances": {
        "compute_id": "no query of Nova's names it; its host is indexed",
        "reservation_id": "lists compare it with a regular expression, for "
        "which SQL reads all rows, too",
        "terminated_at": "usage of all projects is asked for a time in which "
        "most servers were there: reading all of them costs the same"},
    "project_user_quotas": {"id": _NO_IDS,
                            "user_id": "asked with the project"},
    "quotas": {"id": _NO_IDS},
    "block_device_mapping": {"snapshot_id": "no query of Nova's names it"},
    "instance_actions": {"request_id": "asked with the server"},
    "instance_extra": {"id": _NO_IDS},
    "instance_faults": {"host": "no query of Nova's names it",
                        "id": _NO_IDS},
    "instance_info_caches": {"id": _NO_IDS},
    "instance_metadata": {"id": _NO_IDS},
    "instance_system_metadata": {"id": _NO_IDS},
    "migrations": {"dest_compute_id": "no query of Nova's names it; the host "
                   "is indexed"},
    "security_group_instance_association": {"id": _NO_IDS},
    "share_mapping": {"id": _NO_IDS},
    "virtual_interfaces": {"network_id": "asked with the server"},
    "instance_actions_events": {"id": _NO_IDS},
    "key_pairs": {"id": _NO_IDS},
    "instance_mappings": {"user_id": "counted with the project"},
    "allocations": {"resource_class_id": "asked with the provider"},
    "consumers": {"consumer_type_id": "asked with the project"},
}

#: Tables whose partitions have no history beside them: the API database's.
_NO_HISTORY = ("instance_mappings", "build_requests", "request_specs")
_WITH_HISTORY = frozenset(
    rule.kind for rule in RULES.values() if rule.is_history)

#: Kinds whose partitions hold rows of one table: whoever looks for a row
#: of it has no use for the rest of its partition.
SINGLE = frozenset(
    kind for kind, number in collections.Counter(
        rule.kind for rule in RULES.values()).items() if number == 1)


def base_name(table):
    """Return the name of the table whose rule a table follows.

    :param table: ``shadow_x`` and ``_alembic_tmp_x`` follow ``x``.
    """
    changed = True
    while changed:
        changed = False
        for prefix in _COPY_PREFIXES:
            if table.startswith(prefix):
                table = table[len(prefix):]
                changed = True
    return table


def is_shadow(table):
    """Tell whether a table has the archived rows of another one."""
    return "shadow_" in table[:-len(base_name(table))]


def rule_for(table, columns):
    """Return the rule of a table, or None if it is one partition.

    :param columns: names of the columns that it has.
    """
    rule = RULES.get(base_name(table))
    if rule is None or rule.column not in columns:
        return None
    # Nobody looks for rows among archived ones but by their server.
    is_archive = is_shadow(table)
    indexes = tuple(index for index in rule.indexes
                    if all(column in columns for column in index.columns)
                    and not (is_archive and index.since > 1))
    return rule._replace(
        indexes=indexes, local=() if is_archive else tuple(
            index for index in rule.local
            if all(column in columns for column in index.columns)))


def is_beside_history(table, rule):
    """Tell whether a table's rows share partitions with history.

    Archived rows and the history itself are not.

    :param rule: as of ``rule_for``.
    """
    return rule is not None and rule.kind in _WITH_HISTORY and not (
        rule.is_history or is_shadow(table)
        or base_name(table) in _NO_HISTORY)


def parent_names(table, rule):
    """Return the tables whose records a table's may follow, first choice
    first.

    A shadow row is archived before its parent is, so it also follows the
    parent that is still in the table proper.
    """
    if table != rule.parent and table.startswith("shadow_"):
        return ("shadow_" + rule.parent, rule.parent)
    return (rule.parent,)
