# SPDX-License-Identifier: Apache-2.0
import collections
import itertools

import pytest

from benchmarks import boot


class Owner:

    @staticmethod
    def static(value):
        return value

    @classmethod
    def of_class(cls, value):
        return cls, value


@pytest.fixture
def recorder():
    """A recorder whose clock goes one second a look."""
    return boot.Recorder(clock=itertools.count().__next__)


def test_only_the_outermost_call_counts(recorder):
    inner = recorder.wrap("inner", lambda: 1)
    outer = recorder.wrap("outer", lambda: inner() + inner())
    assert outer() == 2
    assert inner() == 1
    calls, cpu_s = recorder.take()
    assert calls == cpu_s == {"outer": 1, "inner": 1}
    assert recorder.take() == ({}, {})


def test_a_failed_call_counts_and_ends(recorder):
    def fail():
        raise KeyError("expected")

    wrapper = recorder.wrap("fail", fail)
    for _ in range(2):
        with pytest.raises(KeyError, match="expected"):
            wrapper()
    assert recorder.take()[0] == {"fail": 2}
    assert recorder.is_quiet(0)


def test_is_not_quiet_during_or_just_after_a_call(recorder):
    during = recorder.wrap("asks", lambda: recorder.is_quiet(0))
    assert during() is False
    assert recorder.is_quiet(0)
    assert not recorder.is_quiet(3600)


def test_replaces_functions_of_every_kind(recorder, monkeypatch):
    for name in ("static", "of_class"):
        monkeypatch.setattr(Owner, name, vars(Owner)[name])
    is_in_place = [recorder.replace(Owner, name)
                   for name in ("static", "of_class")]
    assert Owner.static(1) == Owner().static(1) == 1
    assert Owner.of_class(2) == (Owner, 2)
    assert recorder.take()[0] == {"Owner.static": 2, "Owner.of_class": 1}
    assert [check() for check in is_in_place] == [True, True]
    Owner.static = staticmethod(len)
    assert [check() for check in is_in_place] == [False, True]


def test_summary_has_medians_and_the_dearest_first():
    boots = [(collections.Counter(cheap=2, dear=1),
              collections.Counter(cheap=0.001, dear=seconds))
             for seconds in (0.002, 0.003, 0.010)]
    figures = boot.summary(boots)
    assert figures["boots"] == 3
    assert figures["calls"] == 3
    assert figures["cpu_ms"] == pytest.approx(4)
    dear, cheap = figures["functions"]
    assert dear["function"] == "dear"
    assert dear["calls"] == 1
    assert dear["cpu_ms"] == pytest.approx(5)
    assert dear["median_cpu_ms"] == pytest.approx(3)
    assert cheap["calls"] == 2
