# SPDX-License-Identifier: Apache-2.0
"""The procedure of doc/source/admin/backup.rst, step by step."""

import pathlib
import shutil

import sqlalchemy as sa

from tests import base
from tests import fixtures

ROWS = 40


def _saved(servers, directory):
    """Do step 2 on every master; return {node: (its place, the copy)}."""
    copies = {}
    for node in servers.nodes:
        client = servers.client(node)
        client.execute_command("SAVE")
        place = pathlib.Path(client.execute_command(
            "CONFIG", "GET", "dir")[1].decode())
        copy = directory / str(node[1])
        copy.mkdir()
        for name in ("dump.rdb", "nodes.conf"):
            shutil.copy(place / name, copy)
        copies[node] = place, copy
        client.close()
    return copies


def _restored(servers, copies):
    for node in servers.nodes:
        servers.kill(node)
    for place, copy in copies.values():
        shutil.rmtree(place / "appendonlydir", ignore_errors=True)
        for name in ("dump.rdb", "nodes.conf"):
            shutil.copy(copy / name, place)
    for node in servers.nodes:
        # The fixture's servers start with "appendonly no".
        servers.restart(node)
    servers.wait_healthy()
    for node in servers.nodes:
        client = servers.client(node)
        client.execute_command("CONFIG", "SET", "appendonly", "yes")
        client.close()


def test_restore_brings_back_what_was_saved(tmp_path):
    table = sa.Table(
        "names", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20), unique=True))
    with fixtures.RedisClusterFixture(replicas=0) as servers:
        engine = sa.create_engine(servers.url(base.database_name()))
        table.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(table.insert(), [
                {"name": "name-%d" % number} for number in range(ROWS)])

        copies = _saved(servers, tmp_path)
        with engine.begin() as connection:
            connection.execute(table.delete())
            connection.execute(table.insert(), {"name": "later"})
        _restored(servers, copies)

        with engine.begin() as connection:
            names = set(connection.scalars(sa.select(table.c.name)))
            # Ids that were given out after the backup may come again, those
            # before it must not.
            connection.execute(table.insert(), {"name": "new"})
        assert names == {"name-%d" % number for number in range(ROWS)}
        engine.dispose()
