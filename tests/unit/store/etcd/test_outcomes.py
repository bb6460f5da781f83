# SPDX-License-Identifier: Apache-2.0
"""Outcomes as they are kept."""

import pytest

from nova_kvs.store.etcd import outcomes
from nova_kvs.store.operations import Answer
from nova_kvs.store.operations import Verdict


@pytest.mark.parametrize("answer, text", [
    (Answer(Verdict.COMMITTED), b"c"), (Answer(Verdict.ABORTED), b"a"),
    (Answer(Verdict.DIFFERS, [0, 12]), b"v0,12"),
    (Answer(Verdict.BELOW_FLOOR, (1, 7)), b"f1,7"),
    (Answer(Verdict.TOO_LATE, 99), b"l99"), (Answer(Verdict.UNKNOWN), b"s"),
])
def test_there_and_back(answer, text):
    assert outcomes.pack(answer) == text
    assert outcomes.parse(text) == answer


def test_what_was_known_instead_is_not_kept():
    assert outcomes.parse(outcomes.pack(
        Answer(Verdict.UNKNOWN, [b"f", b"v"]))) == Answer(Verdict.UNKNOWN)
    assert outcomes.parse(None) is None
