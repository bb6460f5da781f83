# SPDX-License-Identifier: Apache-2.0
import pytest

from experiments import sampling


@pytest.mark.parametrize("stack, part", [
    ("main (nova/cmd/conductor.py:9);save (nova/objects/instance.py:8);"
     "loads (json/__init__.py:3)", "Nova's objects"),
    ("main (nova/cmd/conductor.py:9);call (nova_kvs/db/actions.py:8);"
     "batch (nova_kvs/store/redis/remote.py:3);recv (socket.py:1)",
     "KVS: round trips"),
    ("serve (placement/handler.py:9);execute (sqlalchemy/engine/base.py:8)",
     "SQLAlchemy"),
    ("main (nova/cmd/scheduler.py:9)", "Rest of Nova"),
    ("main (/x/lib/nova_kvs/dialect/plan.py:9)", "KVS: dialect"),
    ("run (threading.py:9)", sampling.OTHER)])
def test_a_sample_counts_for_the_innermost_package(stack, part):
    assert sampling.part_of(stack) == part


def test_shares(tmp_path):
    path = tmp_path / "stacks"
    path.write_text("a (nova/a.py:1);b (x.py:2) 3\n"
                    "a (placement/a.py:1) 1\n"
                    "a (nova/a.py:1);Condition.wait (threading.py:331) 9\n")
    assert sampling._shares([path]) == {
        "Rest of Nova": 0.75, "Rest of Placement": 0.25}
