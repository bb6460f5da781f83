# SPDX-License-Identifier: Apache-2.0
"""A small database like Nova's, in SQLite and in the store."""

import sqlite3

from tests import base
from tests.unit.record import databases

DDL = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
    "CREATE TABLE instances (created_at DATETIME, deleted INTEGER, "
    "id INTEGER NOT NULL, uuid VARCHAR(36) NOT NULL, host VARCHAR(255), "
    "project_id VARCHAR(255), disable_terminate BOOLEAN, ratio FLOAT, "
    "user_data TEXT, PRIMARY KEY (id), UNIQUE (uuid))",
    "CREATE TABLE shadow_instances (created_at DATETIME, deleted INTEGER, "
    "id INTEGER NOT NULL, uuid VARCHAR(36) NOT NULL, host VARCHAR(255), "
    "project_id VARCHAR(255), disable_terminate BOOLEAN, ratio FLOAT, "
    "user_data TEXT, PRIMARY KEY (id))",
    "CREATE TABLE instance_system_metadata (id INTEGER NOT NULL, "
    "instance_uuid VARCHAR(36) NOT NULL, key VARCHAR(255), "
    "value VARCHAR(255), PRIMARY KEY (id))",
    "CREATE TABLE instance_actions (id INTEGER NOT NULL, "
    "instance_uuid VARCHAR(36), start_time DATETIME, PRIMARY KEY (id))",
    "CREATE TABLE instance_actions_events (id INTEGER NOT NULL, "
    "action_id INTEGER, event VARCHAR(255), PRIMARY KEY (id))",
    "CREATE TABLE tags (resource_id VARCHAR(36) NOT NULL, "
    "tag VARCHAR(80) NOT NULL, PRIMARY KEY (resource_id, tag))",
    "CREATE TABLE services (id INTEGER NOT NULL, host VARCHAR(255), "
    "topic VARCHAR(255), PRIMARY KEY (id), UNIQUE (host, topic))",
    "CREATE TABLE resource_classes (id INTEGER NOT NULL, "
    "name VARCHAR(255) NOT NULL, PRIMARY KEY (id), UNIQUE (name))",
)
REVISION = "abcdef012345"
#: Servers in the database of the fixture ``original``.
SERVERS = 23


def make_sqlite(path, servers=0, ddl=DDL, revision=REVISION):
    """Make an SQLite database; return its URL."""
    connection = sqlite3.connect(path)
    for text in ddl:
        connection.execute(text)
    connection.execute(
        "INSERT INTO alembic_version VALUES (?)", (revision,))
    for number in range(1, servers + 1):
        uuid = "uuid-%d" % (number * 7919 % 100003)
        when = "2026-01-02 03:04:%02d.%06d" % (number % 60, number)
        row = (when, 0, number, uuid, "host-%d" % (number % 3), "p",
               number % 2, 1.5, "it's \N{SNOWMAN} \0 x")
        connection.execute(
            "INSERT INTO instances VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute(
            "INSERT INTO shadow_instances VALUES "
            "(NULL, ?, ?, ?, NULL, ?, ?, ?, ?)",
            (number, number, "gone-%d" % number, "", 0, 0.1, None))
        for which in range(3):
            connection.execute(
                "INSERT INTO instance_system_metadata VALUES (?, ?, ?, ?)",
                (number * 10 + which, uuid, "key", str(which)))
        connection.execute("INSERT INTO instance_actions VALUES (?, ?, ?)",
                           (number, uuid if number % 5 else None, when))
        connection.execute(
            "INSERT INTO instance_actions_events VALUES (?, ?, ?)",
            (number, number if number % 7 else 10 ** 6 + number, "e"))
        connection.execute("INSERT INTO tags VALUES (?, ?)", (uuid, "t"))
        connection.execute("INSERT INTO tags VALUES (?, ?)", (uuid, "T"))
        connection.execute("INSERT INTO services VALUES (?, ?, ?)",
                           (number, "host-%d" % number, "compute"))
    if servers:
        connection.execute("INSERT INTO resource_classes VALUES (0, 'VCPU')")
    connection.commit()
    connection.close()
    return "sqlite:///%s" % path


def dump_sqlite(url):
    """Return table -> sorted rows."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    names = [name for name, in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: sorted(
        connection.execute('SELECT * FROM "%s"' % name), key=repr)
        for name in names}
    connection.close()
    return found


def make_store(ddl=DDL, revision=REVISION):
    """Make a database in the store; return its URL."""
    url = base.memory_url()
    db = databases.make(ddl, url)
    databases.insert(db, "alembic_version", {"version_num": revision})
    return url


def stopping(insert, moment, pages, error, done):
    """Return an ``insert`` of a target that stops behind some pages.

    :param insert: that of the target.
    :param moment: "before" the page after those, or "behind" it, when it is
        inserted and not noted.
    :param error: what is raised.
    :param done: list that gets the tables of the pages.
    """
    def stop(self, name, rows):
        if moment == "behind":
            insert(self, name, rows)
        if len(done) == pages:
            raise error
        if moment == "before":
            insert(self, name, rows)
        done.append(name)

    return stop
