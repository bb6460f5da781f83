# SPDX-License-Identifier: Apache-2.0
"""Lists of other services load as many rows of 500 as of 50.

The tables and statements are like Neutron's: pages without duplicates, rows
that something exists for, rows of a project or of those that share.
"""

import itertools

import hypothesis
from hypothesis import strategies as st
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
    sa.Column("owner", sa.String(36)),
    sa.Index("ports_by_id", "id"),
    sa.Index("ports_of_owner", "owner", "id"))
addresses = sa.Table(
    "addresses", metadata,
    sa.Column("port_id", sa.String(36), primary_key=True),
    sa.Column("address", sa.String(36), primary_key=True),
    sa.Index("by_address", "address"))
volumes = sa.Table(
    "volumes", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("deleted", sa.Boolean),
    sa.Column("host", sa.String(36)),
    sa.Index("by_host", "deleted", "host"),
    sa.Index("by_any_host", "host"))
snapshots = sa.Table(
    "snapshots", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("deleted", sa.Boolean, index=True),
    sa.Column("volume_id", sa.Integer, index=True))


def _of_host(host):
    """Return what Cinder asks of the volumes of a host or of its pools."""
    return sa.or_(volumes.c.host == host,
                  volumes.c.host.op("LIKE")(host + "#%"))


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
    "of a project or in its network": (
        sa.select(ports.c.id).join(
            networks, networks.c.id == ports.c.net_id).where(sa.or_(
                ports.c.project_id == "p5",
                networks.c.project_id == "p5")), 5),
    "of a project or shared with it": (
        sa.select(networks).outerjoin(
            shares, shares.c.net_id == networks.c.id).where(sa.or_(
                networks.c.project_id == "p5",
                sa.and_(shares.c.action.in_(["use", "see"]), sa.or_(
                    shares.c.target == "*",
                    shares.c.target == "p5")))).group_by(
                        networks.c.id).order_by(networks.c.id).limit(5), 8),
    "of a host and its pools": (
        sa.select(volumes).where(~volumes.c.deleted, _of_host("host3")), 8),
    "of a host, written otherwise": (
        sa.select(volumes.c.id).where(
            volumes.c.deleted == sa.false(), _of_host("Host3")), 8),
    "number of a host's": (
        sa.select(sa.func.count(volumes.c.id)).where(
            ~volumes.c.deleted, volumes.c.host.like("HOST4#%")), 8),
    "snapshots of a host and its pools": (
        sa.select(snapshots).join(
            volumes, volumes.c.id == snapshots.c.volume_id).where(
                ~snapshots.c.deleted, _of_host("host3")), 14),
    "page of one of some owners": (
        sa.select(ports).where(ports.c.owner.in_(["odd"])).order_by(
            ports.c.id).limit(5), 13),
    "page of two owners": (
        sa.select(ports).where(ports.c.owner.in_(["odd", "even"])).order_by(
            ports.c.id).limit(5), 26),
    "shared with all": (
        sa.select(networks.c.id).outerjoin(
            shares, shares.c.net_id == networks.c.id).where(
                shares.c.target == "*"), 2),
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
             "net_id": "n%04d" % number,
             "owner": ("even", "odd")[number % 2]}
            for number in range(count)])
        connection.execute(addresses.insert(), [
            {"port_id": "%04d" % number, "address": "a%d" % number}
            for number in range(count)])
        connection.execute(volumes.insert(), [
            {"deleted": False, "host": text % (number // 3)}
            for number, text in zip(range(count), itertools.cycle(
                ("host%d", "host%d#a", "Host%d#b")))])
        connection.execute(snapshots.insert(), [
            {"deleted": False, "volume_id": number + 1}
            for number in range(count)])
    return engine


@pytest.fixture(scope="module")
def engines():
    """Return SQLite, and the dialect with 50 and with 500 of each."""
    sqlite = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    return (_fill(sqlite, 500),
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


_PROJECTS = st.sampled_from(["p1", "p2", "*", None])
_IDS = st.sampled_from(["a", "b", "c", None])


@st.composite
def _statements(draw):
    """Return a SELECT over joins with an OR of criteria of each table."""
    element = draw(st.sampled_from([ports, networks]))
    parts = [element]
    for other, joined in (
            (networks, networks.c.id == ports.c.net_id),
            (ports, networks.c.id == ports.c.net_id),
            (shares, shares.c.net_id == parts[0].c[
                "net_id" if parts[0] is ports else "id"])):
        if other in parts or draw(st.booleans()):
            continue
        on = sa.and_(joined, draw(st.sampled_from([
            sa.true(), other.c.id != "b",
            (other.c.target if other is shares
             else other.c.project_id) == "p1"])))
        element = element.join(other, on, isouter=draw(st.booleans()),
                               full=draw(st.integers(0, 9)) == 0)
        parts.append(other)
    criteria = [part.c.project_id == "p1" for part in parts
                if part is not shares]
    criteria += [part.c.id == "a" for part in parts]
    if shares in parts:
        criteria += [sa.and_(shares.c.action.in_(["use", "see"]), sa.or_(
            shares.c.target == "*", shares.c.target == "p1")),
            shares.c.target == "p2", shares.c.target.is_(None)]
    criteria.append(sa.exists().where(
        addresses.c.port_id == parts[0].c.id, addresses.c.address == "p1"))
    some = st.lists(st.sampled_from(criteria), min_size=1, max_size=3)
    where = [sa.or_(*draw(some)) for _ in range(draw(st.integers(0, 2)))]
    columns = [part.c.id.label("c%d" % number)
               for number, part in enumerate(parts)]
    query = sa.select(*columns).select_from(element).where(*where)
    merge = draw(st.sampled_from(["none", "distinct", "first"]))
    if merge == "distinct":
        query = query.distinct()
    elif merge == "first":
        query = sa.select(columns[0]).select_from(element).where(
            *where).group_by(parts[0].c.id)
        columns = columns[:1]
    if draw(st.booleans()):
        query = query.order_by(*columns).limit(draw(st.integers(0, 4)))
    return query


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(st.data())
def test_joins_give_what_sqlite_gives(data):
    numbers = st.integers(0, 6)
    rows = {
        networks: data.draw(st.dictionaries(
            _IDS.filter(bool), _PROJECTS, max_size=3)),
        ports: data.draw(st.dictionaries(
            st.sampled_from("abcdef"), st.tuples(_PROJECTS, _IDS),
            max_size=6)),
        shares: data.draw(st.dictionaries(numbers, st.tuples(
            _IDS, _PROJECTS, st.sampled_from(["use", "see", "x"])))),
        addresses: data.draw(st.sets(st.tuples(
            st.sampled_from("abcdef"), st.sampled_from(["p1", "p2"]))))}
    queries = data.draw(st.lists(_statements(), min_size=1, max_size=3))
    answers = []
    for url in ("sqlite://", base.memory_url()):
        engine = sa.create_engine(url)
        metadata.create_all(engine)
        with engine.connect() as connection:
            for name, project in rows[networks].items():
                connection.execute(networks.insert().values(
                    id=name, project_id=project))
            for name, (project, network) in rows[ports].items():
                connection.execute(ports.insert().values(
                    id=name, project_id=project, net_id=network))
            for number, (network, target, action) in rows[shares].items():
                connection.execute(shares.insert().values(
                    id=number, net_id=network, target=target, action=action))
            for port, address in rows[addresses]:
                connection.execute(addresses.insert().values(
                    port_id=port, address=address))
            connection.commit()
            found = []
            for query in queries:
                found.append(sorted(
                    connection.execute(query).fetchall(), key=repr))
                connection.rollback()
        answers.append(found)
        engine.dispose()
    assert answers[1] == answers[0]
