# SPDX-License-Identifier: Apache-2.0
"""Outcomes of transactions as text, and back."""

from nova_kvs.store.operations import Answer
from nova_kvs.store.operations import Verdict

COMMITTED = b"c"
ABORTED = b"a"
_DIFFERS, _BELOW_FLOOR, _TOO_LATE, _UNKNOWN, _CHANGED = (
    b"v", b"f", b"l", b"s", b"u")


def pack(answer):
    """Return an Answer as it is kept: the detail of UNKNOWN is not."""
    verdict, detail = answer
    if verdict is Verdict.COMMITTED:
        return COMMITTED
    if verdict is Verdict.DIFFERS:
        return _DIFFERS + b",".join([b"%d" % number for number in detail])
    if verdict is Verdict.BELOW_FLOOR:
        return b"%b%d,%d" % (_BELOW_FLOOR, *detail)
    if verdict is Verdict.TOO_LATE:
        return b"%b%d" % (_TOO_LATE, detail)
    if verdict is Verdict.UNKNOWN:
        return _UNKNOWN
    if verdict is Verdict.CHANGED:
        return _CHANGED
    return ABORTED


def parse(text):
    """Return the Answer in what is kept, or None."""
    if text is None:
        return None
    kind, detail = text[:1], text[1:]
    if kind == COMMITTED:
        return Answer(Verdict.COMMITTED)
    if kind == _DIFFERS:
        return Answer(
            Verdict.DIFFERS, [int(number) for number in detail.split(b",")])
    if kind == _BELOW_FLOOR:
        return Answer(
            Verdict.BELOW_FLOOR,
            tuple(int(number) for number in detail.split(b",")))
    if kind == _TOO_LATE:
        return Answer(Verdict.TOO_LATE, int(detail))
    if kind == _UNKNOWN:
        return Answer(Verdict.UNKNOWN)
    if kind == _CHANGED:
        return Answer(Verdict.CHANGED)
    return Answer(Verdict.ABORTED)
