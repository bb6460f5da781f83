# SPDX-License-Identifier: Apache-2.0
"""Stored bytes as text files, one a scenario."""

import pathlib

from tests.unit.golden import dump

_HEADER = """\
# Stored bytes: %s
# Made by: python -m tests.unit.golden
"""


def path(scenario):
    """Return the path of a scenario's file."""
    return pathlib.Path(__file__).parent / (scenario.__name__ + ".txt")


def text(scenario):
    """Return what a scenario's file has to be, now."""
    world = dump.World("golden-" + scenario.__name__, getattr(
        scenario, "version", 1))
    parts = [_HEADER % scenario.__doc__]
    with world.entered():
        for heading in scenario(world):
            parts.append("\n## %s\n\n%s\n" % (heading, world.dump()))
    return "".join(parts)
