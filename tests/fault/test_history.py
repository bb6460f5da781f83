# SPDX-License-Identifier: Apache-2.0
"""The history checker finds what it is there to find."""

import itertools

import pytest

from tests.fault import history
from tests.fault import workload

pytestmark = pytest.mark.short

START = {"a": "a0", "a+": "a0", "b": "b0", "b+": "b0"}


def event(times, reads=None, writes=None, status=workload.COMMITTED,
          locked=()):
    """Return an event that reads and commits at some time of an interval.
    """
    begin, end = times
    return workload.Event(
        0, begin, end, begin, end, status, reads or {}, writes or {},
        frozenset(locked))


def test_concurrent_operations_have_an_order():
    assert history.check_registers([
        event((0, 10), {"a": "a0"}, {"a": "a1"}),
        event((3, 20), {"a": "a0"}),
        event((5, 30), {"a": "a1"}),
        event((12, 40), {"a": "a1"}, {"a": "a2"}),
        event((50, 60), {"a": "a2"})], START) == 7


def test_a_write_of_unknown_outcome_may_come_late_or_never():
    unknown = event((0, 10), {"a": "a0"}, {"a": "a1"}, workload.UNKNOWN)
    for tags in itertools.product(("a0", "a1"), repeat=2):
        events = [unknown, event((20, 30), {"a": tags[0]}),
                  event((40, 50), {"a": tags[1]})]
        if tags == ("a1", "a0"):
            with pytest.raises(AssertionError, match="not linearizable"):
                history.check_registers(events, START)
        else:
            assert history.check_registers(events, START)


@pytest.mark.parametrize("events", (
    # An old tag after the new one was acknowledged.
    [event((0, 10), {"a": "a0"}, {"a": "a1"}), event((20, 30), {"a": "a0"})],
    # Before it was written.
    [event((0, 10), {"a": "a1"}), event((20, 30), {"a": "a0"}, {"a": "a1"})],
    # Two writes on the same tag.
    [event((0, 10), {"a": "a0"}, {"a": "a1"}),
     event((0, 10), {"a": "a0"}, {"a": "a2"})],
    # Back again for a reader that overlaps the write, but not the first
    # one who saw it.
    [event((0, 90), {"a": "a0"}, {"a": "a1"}), event((10, 20), {"a": "a1"}),
     event((30, 40), {"a": "a0"})],
    # A refused write.
    [event((0, 10), {"a": "a0"}, {"a": "a1"}, workload.REFUSED),
     event((20, 30), {"a": "a1"})],
    # A row that is there although it was deleted.
    [event((0, 10), {"a": "a0"}, {"a": None}), event((20, 30), {"a": "a0"})],
))
def test_what_is_not_linearizable(events):
    with pytest.raises(AssertionError, match="not linearizable"):
        history.check_registers(events, START)


def test_lost_updates():
    with pytest.raises(AssertionError, match="lost update"):
        history.Order([event((0, 10), {"a": "a0"}, {"a": "a1"}),
                       event((0, 10), {"a": "a0"}, {"a": "a2"})], START)


def test_reads_of_what_was_refused():
    with pytest.raises(AssertionError, match="though refused"):
        history.Order([
            event((0, 10), {"a": "a0"}, {"a": "a1"}, workload.REFUSED),
            event((20, 30), {"a": "a1"})], START)


def test_reads_of_what_nobody_wrote():
    with pytest.raises(AssertionError, match="never written"):
        history.Order([event((20, 30), {"a": "a9"})], START)


def test_torn_and_fractured_reads():
    everything = {name: "1" for name in START}
    events = [
        event((0, 10), START, everything),
        event((0, 10), {"a": "1", "a+": "a0"}),
        event((0, 10), {"a": "1", "a+": "1", "b": "b0", "b+": "b0"}),
        event((20, 30), everything)]
    assert history.torn_reads(events, history.Order(events, START)) == (
        7, 1, 3, 1)


def test_write_skew_is_found_where_it_must_not_be():
    skew = [event((0, 10), {"a": "a0", "b": "b0"}, {"a": "a1"}, locked="b"),
            event((0, 10), {"a": "a0", "b": "b0"}, {"b": "b1"}, locked="a")]
    with pytest.raises(AssertionError, match="no serial order"):
        history.check_serializable(history.Order(skew, START))
    # Those that validate less than they read are not looked at.
    unlocked = [item._replace(locked=frozenset()) for item in skew]
    assert history.check_serializable(history.Order(unlocked, START)) == 0


def test_real_time_is_part_of_the_order():
    events = [event((0, 10), {"a": "a0"}, {"a": "a1"}),
              event((20, 30), {"a": "a0", "b": "b0"}, {"b": "b1"},
                    locked="a")]
    with pytest.raises(AssertionError, match="no serial order"):
        history.check_serializable(history.Order(events, START))
    overlapping = [events[0]._replace(end=25), events[1]]
    assert history.check_serializable(
        history.Order(overlapping, START)) == 2
