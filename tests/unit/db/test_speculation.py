# SPDX-License-Identifier: Apache-2.0
"""Functions that write what they remember of a server, without reading."""

import datetime
import itertools

import greenlet
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from nova import exception
import pytest

from nova_kvs.db import actions
from nova_kvs.db import errors
from nova_kvs.db import instance_joins as joins
from nova_kvs.db import session
from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import partition_cache
from nova_kvs.record import speculation
from tests.differential import clouds
from tests.unit.db import processes

_numbers = itertools.count(1)
_NOW = datetime.datetime(2026, 2, 1)
_MAPPING = "nova.objects.instance_mapping:InstanceMapping."
_JOINS = ["metadata", "system_metadata", "info_cache", "security_groups",
          "pci_devices", "tags", "services", "extra"]


@pytest.fixture(scope="module")
def cloud():
    return clouds.KVSCloud()


@pytest.fixture
def ours(cloud):
    return processes.Process(cloud)


@pytest.fixture
def theirs(cloud):
    return processes.Process(cloud)


@pytest.fixture
def uuid(theirs):
    return new_server(theirs)


def new_server(process):
    uuid = "%08d-0000-4000-8000-000000000000" % next(_numbers)
    process("instance_create", {
        "uuid": uuid, "project_id": "p1", "host": "h1", "progress": 0,
        "metadata": {"a": "b"}, "extra": {"flavor": "{}"}})
    process("action_start", {
        "instance_uuid": uuid, "request_id": "req-1", "action": "create",
        "start_time": _NOW})
    process("action_event_start", {
        "instance_uuid": uuid, "request_id": "req-1", "event": "first",
        "start_time": _NOW})
    process("block_device_mapping_create", {
        "instance_uuid": uuid, "volume_id": "v", "device_name": "/dev/vda",
        "source_type": "volume", "destination_type": "volume"}, False)
    process(_MAPPING + "_create_in_db", {
        "instance_uuid": uuid, "project_id": "p1"})
    return uuid


def read(process, uuid):
    """Return the server as it is stored, in the process's memory, too."""
    return find(process, joins.INSTANCES, uuid=uuid)[0]


def find(process, table, **equal):
    """Return the rows of a table that are stored."""
    return session.Session(process.main, False).all(table, **equal)


def increment(process, uuid):
    """Raise a server's progress by one."""
    def function(s):
        row = s.first(joins.INSTANCES, uuid=uuid)
        s.update(row, {"progress": row.progress + 1})
        return row.progress
    return process.run(process.main, function)


def _device_id(process, uuid):
    return find(process, joins.BLOCK_DEVICES, instance_uuid=uuid)[0].id


#: What writes to one server: function of a process, a UUID and a number that
#: is another one each time.
WRITERS = {
    "update": lambda call, uuid, number: call(
        "instance_update_and_get_original", uuid, {"progress": number},
        _JOINS),
    "move": lambda call, uuid, number: call(
        "instance_update", uuid, {"host": "host%d" % number}),
    "extra": lambda call, uuid, number: call(
        "instance_extra_update_by_uuid", uuid,
        {"pci_requests": str(number)}),
    "info cache": lambda call, uuid, number: call(
        "instance_info_cache_update", uuid, {"network_info": str(number)}),
    "event start": lambda call, uuid, number: call("action_event_start", {
        "instance_uuid": uuid, "request_id": "req-1",
        "event": "e%d" % number, "start_time": _NOW}),
    "event finish": lambda call, uuid, number: call("action_event_finish", {
        "instance_uuid": uuid, "request_id": "req-1", "event": "first",
        "finish_time": _NOW + datetime.timedelta(seconds=number),
        "result": "Success"}),
    "block device": lambda call, uuid, number: call(
        "block_device_mapping_update", _device_id(call, uuid),
        {"connection_info": str(number)}, False),
    "mapping": lambda call, uuid, number: call(
        _MAPPING + "_save_in_db", uuid, {"user_id": str(number)}),
    "metadata": lambda call, uuid, number: call(
        "instance_update", uuid, {"metadata": {"k": str(number)}}),
    "destroy": lambda call, uuid, number: call("instance_destroy", uuid),
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_what_is_remembered_is_written_in_one_round_trip(ours, uuid, name):
    write = WRITERS[name]
    costs = []
    for number in range(1 if name == "destroy" else 3):
        if name == "destroy":
            read(ours, uuid)
            ours.cost = 0
        write(ours, uuid, number)
        costs.append(ours.cost)
    assert costs in ([2, 1, 1], [1, 1, 1], [1])


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"mapping"}))
def test_what_is_out_of_date_costs_no_more_than_to_read_it(
        ours, theirs, uuid, name):
    if name != "block device":
        read(ours, uuid)
    assert increment(theirs, uuid) == 1
    before = ours.main.coordinator.stats.wrong_speculations
    WRITERS[name](ours, uuid, 7)
    if name != "block device":
        assert ours.main.coordinator.stats.wrong_speculations == before + 1
        assert ours.cost == 2
    if name == "update":
        assert read(theirs, uuid).progress == 7
    else:
        assert read(theirs, uuid).progress == 1


def test_an_update_returns_what_it_has_replaced(ours, theirs, uuid):
    read(ours, uuid)
    increment(theirs, uuid)
    old, new = WRITERS["update"](ours, uuid, 5)
    assert (old.progress, new.progress) == (1, 5)
    assert new.services == new.pci_devices == []
    assert [row.value for row in old.metadata] == ["b"]


def test_no_update_is_lost(ours, theirs, uuid):
    for number in range(10):
        assert increment(ours, uuid) == 2 * number + 1
        assert increment(theirs, uuid) == 2 * number + 2


def test_an_expectation_that_fails_is_looked_at_again(ours, theirs, uuid):
    values = {"task_state": None, "expected_task_state": ["building"]}
    theirs("instance_update", uuid, {"task_state": "deleting"})
    read(ours, uuid)
    with pytest.raises(exception.UnexpectedDeletingTaskStateError):
        ours("instance_update", uuid, dict(values))
    # It would have failed by what was remembered.
    theirs("instance_update", uuid, {"task_state": "building"})
    assert ours("instance_update", uuid, dict(values)).task_state is None
    assert ours.cost == 2


def test_a_server_that_is_not_found_is_looked_for_again(ours, theirs, uuid):
    theirs("instance_destroy", uuid)
    read(ours, uuid)
    with pytest.raises(exception.InstanceNotFound):
        ours("instance_update", uuid, {"progress": 1})
    tx = theirs.main.begin()
    record, = tx.load([access.ByPartition("instances", (uuid,))])[0]
    tx.update(record, {**record.values, "deleted": 0})
    tx.commit()
    assert ours("instance_update", uuid, {"progress": 1}).progress == 1


def test_an_unchanged_row_is_looked_at_again(ours, theirs, uuid):
    """It is as it was remembered, but not any more as it is stored."""
    for process, value in ((ours, "x"), (theirs, "y"), (ours, "x")):
        process("instance_update", uuid, {"metadata": {"k": value}})
    assert ours.cost == 2
    found = find(theirs, joins.METADATA, instance_uuid=uuid, deleted=0)
    assert {row.key: row.value for row in found} == {"k": "x"}


def test_a_call_that_is_not_native_is_looked_at_again(ours, uuid):
    read(ours, uuid)
    trips = []

    def function(s):
        trips.append(s.transaction.speculation is not None)
        s.all(joins.INSTANCES, uuid=uuid)
        raise errors.Fallback()

    with pytest.raises(errors.Fallback):
        ours.run(ours.main, function)
    assert ours.cost == 1
    assert len(trips) == 2


def test_a_store_that_is_gone_is_not_asked_twice(ours, uuid):
    read(ours, uuid)
    calls = []

    def function(s):
        calls.append(s)
        s.all(joins.INSTANCES, uuid=uuid)
        raise exceptions.StoreUnavailableError()

    with pytest.raises(exceptions.StoreUnavailableError):
        ours.run(ours.main, function)
    assert len(calls) == 1


def test_what_is_written_elsewhere_does_not_rest_on_it(ours, theirs, uuid):
    other = new_server(theirs)
    read(ours, uuid)

    def function(s):
        row = s.first(joins.INSTANCES, uuid=uuid)
        target = s.first(joins.INSTANCES, uuid=other)
        s.update(target, {"progress": row.progress + 1})

    increment(theirs, uuid)
    ours.run(ours.main, function)
    assert read(theirs, other).progress == 2


def test_what_is_mostly_out_of_date_is_read_again(ours, theirs, uuid):
    stats = ours.main.coordinator.stats
    for number in range(30):
        increment(ours, uuid)
        increment(theirs, uuid)
    assert 3 < stats.speculations == stats.wrong_speculations < 15
    for _ in range(30):
        increment(ours, uuid)
    # It has read often enough that nothing had changed.
    assert ours.cost == 1
    assert speculation.WORTH_IT <= max(
        ours.main.remembered.partitions._estimate._shares.values()) <= 1


def test_ids_of_an_attempt_in_vain_are_used_again(ours, theirs, uuid):
    values = {"instance_uuid": uuid, "request_id": "req-1",
              "start_time": _NOW}
    ids = []
    for number in range(3):
        read(ours, uuid)
        increment(theirs, uuid)
        ids.append(ours("action_event_start", {
            **values, "event": "e%d" % number}).id)
    assert ids == [ids[0], ids[0] + 1, ids[0] + 2]


# Several processes at once --------------------------------------------------

_STATES = st.sampled_from([None, "building", "deleting"])
#: Those that write, or lock, whatever they decide by: what is only read may
#: change meanwhile.
_OPERATIONS = [
    st.tuples(st.just("increment")),
    st.tuples(st.just("replace"), _STATES, _STATES),
    st.tuples(st.just("cache"), st.sampled_from("xyz")),
    st.tuples(st.just("event"), st.sampled_from("ab")),
    st.tuples(st.just("finish"), st.sampled_from(["a0", "a1", "b0", "b1"]))]
#: Not both: of a server without a record of this kind that is not deleted,
#: each of two processes adds one, as on SQL, since no key forbids it.
_ONE_OF_THEM = st.sampled_from([
    st.tuples(st.just("extra"), st.sampled_from("xyz")),
    st.tuples(st.just("destroy"))])
_PLANS = _ONE_OF_THEM.flatmap(lambda one: st.lists(
    st.lists(st.one_of(*_OPERATIONS, one), min_size=1, max_size=5),
    min_size=2, max_size=3))


def _do(process, uuid, name, *args):
    """Run an operation; return what a caller sees of it."""
    try:
        if name == "increment":
            return increment(process, uuid)
        if name == "replace":
            old, new = process("instance_update_and_get_original", uuid, {
                "task_state": args[1], "expected_task_state": [args[0]]},
                _JOINS)
            return old.task_state, new.task_state, old.progress
        if name == "extra":
            return process("instance_extra_update_by_uuid", uuid,
                           {"pci_requests": args[0]})
        if name == "cache":
            return process("instance_info_cache_update", uuid,
                           {"network_info": args[0]}).network_info
        if name == "destroy":
            return process("instance_destroy", uuid).progress
        values = {"instance_uuid": uuid, "request_id": "req-1",
                  "event": args[0]}
        if name == "event":
            return process("action_event_start", {
                **values, "start_time": _NOW}).event
        return process("action_event_finish", {
            **values, "finish_time": _NOW, "result": "Success"}).result
    except exception.NovaException as error:
        return type(error).__name__


def _state(process, uuid):
    """Return what is stored of a server, but for times and ids."""
    s = session.Session(process.main, False)
    action, = s.all(actions.ACTIONS, instance_uuid=uuid)
    return [
        sorted([str(row[name]) for name in names] + [bool(row.deleted)]
               for row in s.all(table, **equal))
        for table, names, equal in (
            (joins.INSTANCES, ("progress", "task_state"), {"uuid": uuid}),
            (joins.EXTRA, ("pci_requests",), {"instance_uuid": uuid}),
            (joins.INFO_CACHES, ("network_info",), {"instance_uuid": uuid}),
            (actions.EVENTS, ("event", "result"), {"action_id": action.id}))]


@given(_PLANS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture])
def test_calls_of_several_processes_are_as_one_after_the_other(
        cloud, plans, random):
    hub = greenlet.getcurrent()
    clock = itertools.count()
    sent = {}

    def before_batch():
        worker = greenlet.getcurrent()
        if worker is not hub:
            hub.switch()
            sent[worker] = next(clock)

    def work(process, plan):
        number = workers.index(process)
        for operation in plan:
            if operation[0] == "event":
                # Of two with one name that with the lower id is finished, and
                # ids of several processes are not in the order of time.
                operation = ("event", "%s%d" % (operation[1], number))
            result = _do(process, uuid, *operation)
            # All is in one partition: it counts when the last was sent.
            done.append((sent[greenlet.getcurrent()], operation, result))

    workers = [processes.Process(cloud, before_batch) for _ in plans]
    uuid = new_server(workers[0])
    done = []
    running = [greenlet.greenlet(work) for _ in plans]
    arguments = dict(zip(running, zip(workers, plans)))
    while running:
        chosen = random.choice(running)
        chosen.switch(*arguments.pop(chosen, ()))
        if chosen.dead:
            running.remove(chosen)
    alone = processes.Process(cloud)
    same = new_server(alone)
    for _, operation, result in sorted(done, key=lambda item: item[0]):
        # As a process that remembers nothing does it.
        alone.main.remembered.partitions = partition_cache.PartitionCache()
        assert _do(alone, same, *operation) == result
    assert _state(alone, same) == _state(alone, uuid)
