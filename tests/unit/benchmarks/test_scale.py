# SPDX-License-Identifier: Apache-2.0
import json
import random

from nova import context
from nova.db.main import models as main_models
import sqlalchemy as sa

from benchmarks import backends
from benchmarks import calls as hot_calls
from benchmarks import measure
from benchmarks.scale import calls
from benchmarks.scale import cloud as clouds
from benchmarks.scale import table
from tests.unit.benchmarks import sqlite

COUNT = 100


def test_every_server_has_its_own_rows():
    """SQLite with its constraints takes all that is generated."""
    cloud = clouds.Cloud(COUNT)
    with sqlite.filled(cloud).connect() as connection:
        for text, expected in (
                ("instances", COUNT),
                ("instances WHERE deleted != 0 AND host IS NULL",
                 COUNT // clouds.DELETED_SHARE),
                ("instance_actions", COUNT * clouds.ACTIONS),
                ("console_auth_tokens", clouds.FEW)):
            assert connection.execute(sa.text(
                "SELECT count(*) FROM " + text)).scalar() == expected
    live = {row["uuid"] for model, rows in cloud.all_rows()
            for row in rows if model is main_models.Instance}
    assert len(cloud.archived()) == COUNT // clouds.ARCHIVED_SHARE
    assert live.isdisjoint(row["uuid"] for row in cloud.archived())


def test_rows_of_a_table_have_the_same_columns():
    """Many are inserted by one statement, whichever is the first."""
    columns = {}
    for model, rows in clouds.Cloud(COUNT).all_rows():
        for row in rows:
            assert columns.setdefault(model, row.keys()) == row.keys()


def test_calls_can_be_prepared():
    names = [call.name for call in calls.CALLS]
    assert len(set(names)) == len(names)
    world = hot_calls.World(
        calls.clouds.Cloud(COUNT), context.get_admin_context(),
        random.Random(1))
    for call in calls.CALLS:
        assert callable(call.prepare(world))


def figures(median_ms):
    return measure.Figures(
        3, median_ms, median_ms, 1.0, 0.5, 2.0, {}, 4, 2048)


def test_the_worst_ratio_comes_first():
    results = {
        size: {call: {backends.MARIADB: figures(2.0),
                      "native": figures(2.0 * ratio * size / 10),
                      "dialect": figures(4.0)}
               for call, ratio in (("good", 0.5), ("bad", 3), ("fair", 1))}
        for size in (10, 20)}
    text = table.text(results)
    lines = [line.split('"')[1] for line in text.split("\n")
             if line.startswith('   "')]
    assert lines == ["call", "bad", "fair", "good"] * 2
    assert ('"bad", "2.00 (1.5)", "6.00 (1.5), 4, 2", "4.00 (1.5), 4, 2", '
            '"3.00", "2.00", "2.0", "1.0"') in text
    assert "native 1.14, dialect 2.00" in text
    data = json.loads(json.dumps(table.as_json(results)))
    assert data["servers"]["20"]["bad"]["native"]["commands"] == 4
