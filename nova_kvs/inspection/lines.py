# SPDX-License-Identifier: Apache-2.0
"""What ``nova-kvs check`` prints: a line for each thing that it looks at."""

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
    #: What was found, and what to do about it.
    text: str
