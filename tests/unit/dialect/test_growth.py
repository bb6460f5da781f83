# SPDX-License-Identifier: Apache-2.0
"""Lists of other services load as many rows of 500 as of 50.

The tables and statements are like Neutron's: pages without duplicates, rows
that something exists for, rows of a project or of those that share.
"""

import pytest
import sqlalchemy as sa

from nova_kvs.dialect import workspace
from tests import base

metadata = sa.MetaData()
networks = sa.Table(
    "nets", metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(36), index=True),
    sa.Column("name", sa.String(36)),
    sa.Index("nets_by_id", "id"))
shares = sa.Table(
    "shares", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("net_id", sa.String(36), index=True),
    sa.Column("target", sa.String(36), index=True),
    sa.Column("action", sa.String(36)))
ports = sa.Table(
    "ports", metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(36), index=True),
    sa.Column("net_id", sa.String(36), index=True),
    sa.Index("ports_by_id", "id"))
addresses = sa.Table(
    "addresses", metadata,
    sa.Column("port_id", sa.String(36), primary_key=True),
    sa.Column("address", sa.String(36), primary_key=True),
    sa.Index("by_address", "address"))

#: Name -> (statement, rows that it may load).
QUERIES = {
    "page of distinct rows": (
        sa.select(ports).distinct().order_by(ports.c.id).limit(5), 13),
    "page of groups": (
        sa.select(ports).group_by(ports.c.id).order_by(
            ports.c.id).limit(5), 13),
    "something exists": (
        sa.select(ports).where(sa.exists().where(
            addresses.c.port_id == ports.c.id,
            addresses.c.address == "a3")), 2),
}


def _fill(engine, count):
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(networks.insert(), [
            {"id": "n%04d" % number, "name": "n",
             "project_id": "p%d" % number} for number in range(count)])
        connection.execute(shares.insert(), [
            {"net_id": "n%04d" % number, "action": "use",
             "target": "*" if number == 7 else "p%d" % (number + 1)}
            for number in range(count)])
        connection.execute(ports.insert(), [
            {"id": "%04d" % number, "project_id": "p%d" % (number + 2),
             "net_id": "n%04d" % number} for number in range(count)])
        connection.execute(addresses.insert(), [
            {"port_id": "%04d" % number, "address": "a%d" % number}
            for number in range(count)])
    return engine


@pytest.fixture(scope="module")
def engines():
    """Return SQLite, and the dialect with 50 and with 500 of each."""
    return (_fill(sa.create_engine(
                "sqlite://", poolclass=sa.pool.StaticPool), 500),
            _fill(sa.create_engine(base.memory_url()), 50),
            _fill(sa.create_engine(base.memory_url()), 500))


@pytest.mark.parametrize("name", QUERIES)
def test_no_more_rows_are_loaded_of_more(engines, monkeypatch, name):
    query, most = QUERIES[name]
    loads = []
    load = workspace.Workspace.load

    def count(self, accesses, states):
        answers = load(self, accesses, states)
        loads[-1] += sum(map(len, answers))
        return answers

    monkeypatch.setattr(workspace.Workspace, "load", count)
    answers = []
    for engine in engines:
        loads.append(0)
        with engine.connect() as connection:
            answers.append(sorted(connection.execute(query).fetchall()))
    assert answers[2] == answers[0]
    assert answers[2]
    assert loads[1] == loads[2] <= most
