# SPDX-License-Identifier: Apache-2.0
"""Lines that ``nova-kvs check`` prints: one for each thing it looks at."""

import enum
import typing


class Status(enum.IntEnum):
    """The verdict of one examination."""

    OK = 0
    WARNING = 1
    ERROR = 2


class Line(typing.NamedTuple):
    """The result of one check."""

    name: str
    status: Status
    #: The finding, and advice.
    text: str
