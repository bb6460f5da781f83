# SPDX-License-Identifier: Apache-2.0
"""The checker finds what was planted, and nothing where nothing is."""

import itertools

import pytest

from tests.fault.blackbox import checker

pytestmark = pytest.mark.short

_times = itertools.count()


def did(*operations, status=checker.COMMITTED, times=None):
    """Return a transaction, after those that were made before.

    :param operations: "x+1" appends 1 to x, "x=12" has read 1 and 2 of x.
    """
    begin, end = times or (next(_times), next(_times))
    return checker.Transaction(begin, end, status, [
        (checker.APPEND, text[0], text[2:]) if text[1] == "+"
        else (checker.READ, text[0], tuple(text[2:])) for text in operations])


def together(*transactions):
    """Let some transactions be at the same time."""
    for one in transactions:
        one.begin = transactions[0].begin
        one.end = transactions[-1].end
    return list(transactions)


def anomalies(*transactions):
    return set(checker.History(list(transactions)).anomalies)


def test_one_after_the_other():
    assert anomalies(
        did("x=", "x+1"), did("x=1", "x+2", "y+3"), did("x=12", "y=3"),
        did("y=3", "y+4", "y+5", "y=345"), did("x=12", "y=345")) == set()


@pytest.mark.parametrize("status, seen", [
    (checker.UNKNOWN, "x=1"), (checker.UNKNOWN, "x="),
    (checker.REFUSED, "x=")])
def test_what_may_be(status, seen):
    assert anomalies(did("x+1", status=status), did(seen)) == set()


def test_dirty_write():
    assert "G0" in anomalies(*together(
        did("x+1", "y+1"), did("x+2", "y+2"), did("x=12", "y=21")))


def test_aborted_read():
    assert "G1a" in anomalies(
        did("x+1", status=checker.REFUSED), did("x=1"))
    # Nobody wrote it at all.
    assert "G1a" in anomalies(did("x=7"))


def test_intermediate_read():
    assert "G1b" in anomalies(*together(did("x+1", "x+2"), did("x=1")))


def test_circular_information():
    found = anomalies(*together(did("x+1", "y=2"), did("y+2", "x=1")))
    assert "G1c" in found
    assert "G0" not in found


def test_lost_update():
    found = anomalies(*together(
        did("x=", "x+1"), did("x=", "x+2"), did("x=12")))
    assert "lost update" in found


def test_an_append_that_is_gone():
    history = checker.History([
        did("x=", "x+1"), did("x=", "x+2"), did("x=2")])
    assert history.lost() == [("x", "1")]
    assert "lost update" in history.anomalies


def test_fractured_read():
    found = anomalies(*together(
        did("x=", "x+1", "y=", "y+2"), did("x=1", "y=")), did("x=1", "y=2"))
    assert found == {"fractured read", "G2"}


def test_write_skew():
    found = anomalies(
        *together(did("x=", "y+1"), did("y=", "x+2")), did("x=2", "y=1"))
    assert found == {"G2"}
    assert not found & set(checker.FORBIDDEN)
    assert found & set(checker.SERIALIZABLE)


def test_stale_read():
    found = anomalies(did("x+1"), did("x="), did("x=1"))
    assert {"real-time", "cycle with real time"} <= found


def test_an_order_against_time_that_no_one_list_shows():
    """y was written after x, and somebody saw only y."""
    first, second = did("x+1"), did("y+2")
    reader = did("x=", "y=2")
    reader.begin = first.begin
    found = anomalies(first, second, reader, did("x=1", "y=2"))
    assert found == {"cycle with real time"}


def test_incompatible_orders():
    found = anomalies(*together(
        did("x+1"), did("x+2"), did("x=12"), did("x=21")))
    assert "incompatible order" in found


def test_an_element_twice():
    assert "duplicate element" in anomalies(did("x+1"), did("x=11"))


@pytest.mark.parametrize("operations", [
    ("x=1", "x="), ("x+2", "x="), ("x=1", "x+2", "x=2")])
def test_a_transaction_that_contradicts_itself(operations):
    assert "internal" in anomalies(did("x+1"), did(*operations), did("x=12"))
