# SPDX-License-Identifier: Apache-2.0
"""What is stored stays, byte by byte: other versions read and write it."""

import pytest

from tests.unit.golden import dump
from tests.unit.golden import files
from tests.unit.golden import scenarios


@pytest.mark.parametrize(
    "scenario", scenarios.SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_stored_bytes(scenario):
    wanted = files.path(scenario).read_text(encoding="ascii")
    assert files.text(scenario).splitlines() == wanted.splitlines()


def test_one_server_keeps_the_same_as_several():
    """When nothing is in flight."""
    shown = []
    for one_server in (False, True):
        world = dump.World("golden-at_rest")
        with world.entered():
            shown.append(scenarios.at_rest(world, one_server))
    assert shown[0].splitlines() == shown[1].splitlines()
