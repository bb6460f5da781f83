# SPDX-License-Identifier: Apache-2.0
"""Procedures of several steps: the manual's commands in the manual's order.

What is done between its literal blocks is what the page says in words.
"""

from concurrent import futures
import pathlib
import shutil

import sqlalchemy

from tests import base
from tests import fixtures
from tests.functional.cmd import clouds
from tests.functional.documentation import blocks
from tests.functional.documentation import lab as labs

_CELL0_UUID = "00000000-0000-0000-0000-000000000000"
_CELL_UUID = "0a5eab1e-0000-4000-8000-00000000ce11"
_SERVERS = 20
_ROWS = 40


def check_moving(lab, literals):
    """A cell goes from MariaDB to the store and back.

    The API database goes, too, for the commands on cell mappings.
    """
    schema, copies, mappings, back = literals
    sources = {name: lab.mariadb.create(name)
               for name in ("nova_api", "nova_cell1")}
    # Names that the installed cloud on the same cluster does not use.
    targets = {
        name: lab.cluster.url(name.replace("nova", "moved"), **labs.QUERY)
        for name in ("nova_api", "nova_cell1")}
    home = lab.home("moving")

    def run(text):
        text = text.replace(":7000/nova_", ":7000/moved_")
        return lab.run(
            lab.fill_in(text.replace("UUID", _CELL_UUID)), home="moving")

    with futures.ThreadPoolExecutor() as pool:
        list(pool.map(clouds.sync, ("api", "cell"), sources.values(),
                      2 * [str(home)]))
    clouds.fill(sources["nova_cell1"], _SERVERS)
    _map_cells(sources["nova_api"])
    before = clouds.dump(sources["nova_cell1"])

    conf = (
        "[DEFAULT]\ntransport_url = rabbit://new:new@127.0.0.1:5672/\n"
        "[database]\nconnection = %s\n[api_database]\nconnection = %s\n"
        % (targets["nova_cell1"], targets["nova_api"]))
    (home / "nova-kvs.conf").write_text(conf)
    for command in schema.commands():
        run(command)
    dry_run, copy = copies.commands()
    assert "copied and verified" not in run(dry_run)
    assert "copied and verified" in run(copy)
    assert "copied and verified" in run(copy.replace("nova_cell1", "nova_api"))
    run("nova-kvs fsck '%s'" % targets["nova_cell1"])

    (home / ".nova/nova.conf").write_text(conf)
    for command in mappings.commands():
        run(command)
    assert _mapped_cells(targets["nova_api"]) == {
        _CELL0_UUID: "none:///",
        _CELL_UUID: "rabbit://guest:guest@127.0.0.1:5672/"}

    _empty(sources["nova_cell1"])
    for command in back.commands():
        assert "copied and verified" in run(command)
    assert clouds.dump(sources["nova_cell1"]) == before


def check_moving_all(lab, literals):
    """The databases of a cloud go from MariaDB to the store, at once."""
    block, = literals
    home = lab.home("moving-all")
    sources = {name: lab.mariadb.create("whole_" + name)
               for name in ("api", "cell1")}
    with futures.ThreadPoolExecutor() as pool:
        list(pool.map(clouds.sync, ("api", "cell"), sources.values(),
                      2 * [str(home)]))
    clouds.fill(sources["cell1"], _SERVERS)
    engine = sqlalchemy.create_engine(sources["api"])
    mappings = sqlalchemy.Table(
        "cell_mappings", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.begin() as connection:
        connection.execute(mappings.insert().values(
            uuid=_CELL_UUID, transport_url="rabbit://old/",
            database_connection=sources["cell1"]))
    engine.dispose()
    (home / ".nova/nova.conf").write_text(
        "[database]\nconnection = %(cell1)s\n"
        "[api_database]\nconnection = %(api)s\n" % sources)
    output = lab.run(
        "set -e\n" + lab.fill_in(block.text), home="moving-all")
    assert output.count("copied and verified") == 2
    assert _mapped_cells(lab.cluster.url("whole_api")) == {
        _CELL_UUID: "rabbit://old/"}


def _map_cells(url):
    engine = sqlalchemy.create_engine(url)
    mappings = sqlalchemy.Table(
        "cell_mappings", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.begin() as connection:
        connection.execute(mappings.insert(), [
            {"uuid": uuid, "transport_url": "rabbit://old/",
             "database_connection": "mysql+pymysql://old/" + uuid}
            for uuid in (_CELL0_UUID, _CELL_UUID)])
    engine.dispose()


def _mapped_cells(url):
    """Return UUID -> transport URL of cells with a URL of the store."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT uuid, transport_url, database_connection"
            " FROM cell_mappings").all()
    engine.dispose()
    return {uuid: transport_url for uuid, transport_url, url in rows
            if url.startswith("kvs+cluster://")}


def _empty(url):
    """Remove all rows but the revision."""
    engine = sqlalchemy.create_engine(url)
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
        for name, table in metadata.tables.items():
            if name != "alembic_version":
                connection.execute(table.delete())
    engine.dispose()


def check_backup(lab, literals):
    """All that was saved is back, and on disk when the servers stop again.

    On a cluster without replicas, each server with the manual's settings.
    """
    options = labs.redis_settings()
    # Without a replica such a server would take no writes.
    del options["min-replicas-to-write"]
    table = sqlalchemy.Table(
        "names", sqlalchemy.MetaData(),
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
        sqlalchemy.Column("name", sqlalchemy.String(20), unique=True))
    with fixtures.RedisClusterFixture(
            replicas=0, options=options) as servers:
        url = servers.url(base.database_name())
        engine = sqlalchemy.create_engine(url)
        table.metadata.create_all(engine)
        saved = {"name-%d" % number for number in range(_ROWS)}
        with engine.begin() as connection:
            connection.execute(
                table.insert(), [{"name": name} for name in saved])

        copies = _saved(lab, literals, servers)
        with engine.begin() as connection:
            connection.execute(table.delete())
            connection.execute(table.insert(), {"name": "later"})
        _restored(lab, servers, copies)

        lab.run("nova-kvs fsck '%s'" % url)
        with engine.begin() as connection:
            assert set(connection.scalars(
                sqlalchemy.select(table.c.name))) == saved
            # Ids that were given out after the backup may come again, those
            # before it must not.
            connection.execute(table.insert(), {"name": "new"})
        for node in servers.nodes:
            servers.kill(node)
            servers.restart(node)
        servers.wait_healthy()
        with engine.connect() as connection:
            assert set(connection.scalars(
                sqlalchemy.select(table.c.name))) == {"new", *saved}
        engine.dispose()


def _saved(lab, literals, servers):
    """Run the block on every master; return {node: (its place, the copy)}."""
    block, = literals
    save, ask = block.commands()
    copies = {}
    for node in servers.nodes:
        def run(command):
            return lab.run(command.replace(
                "-h 10.0.0.1 -p 7000", "-h %s -p %d" % node))

        assert run(save) == "OK\n"
        place = pathlib.Path(run(ask).splitlines()[1])
        copy = lab.home("backup") / str(node[1])
        copy.mkdir()
        for name in ("dump.rdb", "nodes.conf"):
            shutil.copy(place / name, copy)
        copies[node] = place, copy
    return copies


def _restored(lab, servers, copies):
    """Do what the page says in words, with the settings it names."""
    option, setting = (
        literal.text for literal in blocks.inline()
        if literal.document == "doc/source/admin/backup.rst"
        and literal.text.startswith(("--appendonly", "CONFIG SET")))
    for node in servers.nodes:
        servers.kill(node)
    for place, copy in copies.values():
        shutil.rmtree(place / "appendonlydir")
        for name in ("dump.rdb", "nodes.conf"):
            shutil.copy(copy / name, place)
    for node in servers.nodes:
        servers.restart(node, option.split())
    servers.wait_healthy()
    for node in servers.nodes:
        lab.run("redis-cli -h %s -p %d %s" % (*node, setting))
        fixtures.wait_for(
            lambda: "aof_rewrite_in_progress:0" in lab.run(
                "redis-cli -h %s -p %d INFO persistence" % node),
            "the append-only file is written")
