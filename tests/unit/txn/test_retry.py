# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs import exceptions
from nova_kvs.txn import retry


class Function:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize("conflicts", [0, 1, 4])
def test_conflicts_are_retried(conflicts):
    function = Function(*[exceptions.ConflictError()] * conflicts)
    pauses_s = []
    assert retry.run(function, 5, sleep=pauses_s.append) == "done"
    assert function.calls == conflicts + 1
    assert len(pauses_s) == conflicts
    assert all(0 < pause_s <= retry.LONGEST_PAUSE_MS / 1000
               for pause_s in pauses_s)


def test_floor_errors_are_conflicts():
    assert retry.run(
        Function(exceptions.FloorError(floor=1)), sleep=lambda s: None
    ) == "done"


def test_the_last_conflict_is_raised():
    function = Function(*[exceptions.ConflictError()] * 9)
    with pytest.raises(exceptions.ConflictError):
        retry.run(function, 3, sleep=lambda pause_s: None)
    assert function.calls == 3


@pytest.mark.parametrize("error", [
    exceptions.UndeterminedError, exceptions.DuplicateKeyError,
    exceptions.StoreUnavailableError])
def test_other_errors_are_not(error):
    function = Function(error())
    with pytest.raises(error):
        retry.run(function)
    assert function.calls == 1
