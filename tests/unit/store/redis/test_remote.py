# SPDX-License-Identifier: Apache-2.0
"""The round trip and its repetition, against servers that are stubs."""

import time

import pytest
from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store import base as store_base
from nova_kvs.store.redis import commits
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import repetition
from tests import base
from tests.unit.store.redis import stubs

WRITE = base.script("return redis.call('SET', KEYS[1], '')", name="write")
READ = base.script("return redis.call('GET', KEYS[1])", writes=False,
                   name="read")
LOADED = b"sha"
CLUSTER_DOWN = redis_exceptions.ClusterDownError("The cluster is down")
TRY_AGAIN = redis_exceptions.TryAgainError("Multiple keys request")
NO_SCRIPT = redis_exceptions.NoScriptError("No matching script")


def _get(key):
    return base.command(b"GET", key)


def _set(key, value=b"v"):
    return base.command(b"SET", key, value)


def _call(script, key):
    return raw.ScriptCall(script, (key,), ())


def _sent(log, name="a"):
    """Return the commands that each send to a node had, without lengths."""
    return [[tuple(part) for part in entry[2]] for entry in log
            if entry[:2] == ("send", name)]


@pytest.fixture
def log():
    return []


def test_a_post_reads_nothing_and_is_done_when_every_server_was(log):
    nodes = [stubs.StubNode(name, log) for name in "ab"]
    store, done = stubs.StubStore(nodes), []
    store.post([_set(b"a1"), _call(WRITE, b"b1"), _set(b"a2")], done.extend)
    assert [entry[:2] for entry in log] == [
        ("send", "a"), ("release", "a"), ("send", "b"), ("release", "b")]
    assert store.stats.round_trips == 0 and store.stats.commands == 3
    (count, first), = nodes[0].posted
    # The script is loaded as well.
    (script_count, second), = nodes[1].posted
    assert (count, script_count) == (2, 2)
    first([1, 2])
    assert done == []
    second([b"sha", 3])
    assert done == [1, 3, 2]


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_post_goes_to_those_servers_that_are_there(log, is_refused):
    nodes = [stubs.StubNode(name, log) for name in "ab"]
    store, done = stubs.StubStore(nodes), []
    nodes[0].idle.append(stubs.StubConnection(nodes[0]))
    if is_refused:
        nodes[0].idle.clear()
        nodes[0].refuse = 1
    else:
        nodes[0].replies.append(stubs.LOST)
    store.post([_set(b"a1"), _set(b"b1")], done.extend)
    (_, collected), = nodes[1].posted
    collected([1])
    assert nodes[0].posted == nodes[0].idle == done == []


def test_everything_is_sent_before_anything_is_read(log):
    nodes = [stubs.StubNode(name, log, name.encode() + b"1",
                            name.encode() + b"2") for name in "ab"]
    store = stubs.StubStore(nodes)
    replies = store.batch([_get(b"a1"), _get(b"b1"), _get(b"a2"),
                           _get(b"b2")])
    assert replies == [b"a1", b"b1", b"a2", b"b2"]
    assert [entry[:2] for entry in log] == [
        ("send", "a"), ("send", "b"),
        ("read", "b"), ("read", "b"), ("release", "b"),
        ("read", "a"), ("read", "a"), ("release", "a")]
    assert store.stats == store_base.Stats(
        round_trips=1, commands=4, bytes_out=4 * len(
            b"*2\r\n$3\r\nGET\r\n$2\r\na1\r\n"), bytes_in=8)


def test_an_empty_batch_sends_nothing(log):
    store = stubs.StubStore([stubs.StubNode("a", log)])
    assert store.batch([]) == []
    assert store.batch([], replicas=2) == [2]
    assert log == [] and store.stats.round_trips == 0


def test_a_script_is_loaded_once_a_connection(log):
    node = stubs.StubNode("a", log, LOADED, 1, 2, 3)
    store = stubs.StubStore([node])
    assert store.batch([_call(WRITE, b"a"), _call(WRITE, b"a")]) == [1, 2]
    assert store.batch([_call(WRITE, b"a")]) == [3]
    run = (b"EVALSHA", WRITE.sha, b"1", b"a")
    assert _sent(log) == [
        [(b"SCRIPT", b"LOAD", WRITE.source), run, run], [run]]


def test_a_reading_script_runs_read_only(log):
    store = stubs.StubStore([stubs.StubNode("a", log, LOADED, 1)])
    store.batch([_call(READ, b"a")])
    assert _sent(log)[0][1] == (b"EVALSHA_RO", READ.sha, b"1", b"a")


MISCONF = redis_exceptions.ResponseError("MISCONF Errors writing to the AOF")


@pytest.mark.parametrize("replies, nothing_applied", [
    ([MISCONF], True),
    ([redis_exceptions.OutOfMemoryError("command not allowed")], True),
    # A script may have written before this.
    ([redis_exceptions.ResponseError("WRONGTYPE Operation")], False),
    # The first time it may have been run.
    ([stubs.LOST, MISCONF], False),
    ([TRY_AGAIN, MISCONF], True)])
def test_a_refusal_before_anything_was_written(log, replies, nothing_applied):
    store = stubs.StubStore(
        [stubs.StubNode("a", log, *replies)], request_timeout=5)
    with pytest.raises(exceptions.StoreReplyError) as caught:
        store.batch([_set(b"a")])
    assert caught.value.nothing_applied is nothing_applied


def test_an_error_reply_is_raised_after_all_were_read(log):
    node = stubs.StubNode(
        "a", log, redis_exceptions.ResponseError("WRONGTYPE"), b"ok")
    store = stubs.StubStore([node])
    with pytest.raises(exceptions.StoreReplyError) as caught:
        store.batch([_set(b"a"), _set(b"a")])
    assert caught.value.command == "SET"
    assert "WRONGTYPE" in str(caught.value)
    assert not node.replies and len(node.idle) == 1


def test_the_first_error_is_raised_after_the_rest_was_repeated(log):
    node = stubs.StubNode(
        "a", log, redis_exceptions.ResponseError("WRONGTYPE first"),
        TRY_AGAIN, redis_exceptions.ResponseError("WRONGTYPE third"), b"ok")
    store = stubs.StubStore([node])
    with pytest.raises(exceptions.StoreReplyError, match="first"):
        store.batch([_set(b"a1"), _set(b"a2"), _set(b"a3")])
    assert _sent(log)[1:] == [[(b"SET", b"a2", b"v")]]


def test_what_follows_in_the_slot_is_repeated_in_order(log):
    node = stubs.StubNode(
        "a", log, TRY_AGAIN, 2, 3, 4, TRY_AGAIN, 5, 7, 8)
    store = stubs.StubStore([node], request_timeout=5)
    items = [_set(b"a{1}", b"0"), _set(b"a{2}", b"1"), _set(b"a{1}", b"2"),
             _set(b"a{3}", b"3")]
    assert store.batch(items) == [7, 2, 8, 4]
    repeated = [(b"SET", b"a{1}", b"0"), (b"SET", b"a{1}", b"2")]
    assert _sent(log)[1:] == [repeated, repeated]


def test_a_forgotten_script_is_loaded_again(log):
    node = stubs.StubNode("a", log, LOADED, 1, NO_SCRIPT, LOADED, 2)
    store = stubs.StubStore([node])
    store.batch([_call(WRITE, b"a")])
    assert store.batch([_call(WRITE, b"a")]) == [2]
    assert _sent(log)[2][0] == (b"SCRIPT", b"LOAD", WRITE.source)


def test_a_script_that_does_not_load_is_not_taken_for_loaded(log):
    broken = redis_exceptions.ResponseError("Error compiling script")
    node = stubs.StubNode("a", log, broken, NO_SCRIPT, broken, NO_SCRIPT,
                          broken, NO_SCRIPT, LOADED, 1)
    store = stubs.StubStore([node], request_timeout=5)
    assert store.batch([_call(WRITE, b"a")]) == [1]


@pytest.mark.parametrize("item", [_set(b"a"), _get(b"a")])
def test_a_lost_reply_is_asked_for_again(log, item):
    node = stubs.StubNode("a", log, stubs.LOST, b"v")
    store = stubs.StubStore([node], request_timeout=5)
    assert store.batch([item]) == [b"v"]
    assert _sent(log)[0] == _sent(log)[1]
    assert ("close", "a") in log


@pytest.mark.parametrize(("item", "error"), [
    (_set(b"a"), exceptions.UndeterminedError),
    (_call(WRITE, b"a"), exceptions.UndeterminedError),
    (_get(b"a"), exceptions.StoreUnavailableError),
    (_call(READ, b"a"), exceptions.StoreUnavailableError),
])
def test_a_reply_that_stays_lost(log, item, error):
    store = stubs.StubStore([stubs.StubNode("a", log, *[stubs.LOST] * 999)])
    with pytest.raises(error) as caught:
        store.batch([item])
    assert caught.value.__cause__ is stubs.LOST


@pytest.mark.parametrize("refusal", [
    CLUSTER_DOWN, TRY_AGAIN, redis_exceptions.ReadOnlyError("replica"),
    redis_exceptions.MasterDownError("link"),
    redis_exceptions.ResponseError("BUSY Redis is busy"),
    redis_exceptions.ResponseError("NOREPLICAS Not enough good replicas"),
    redis_exceptions.BusyLoadingError("loading the dataset in memory")])
def test_a_write_that_was_only_refused_was_not_applied(log, refusal):
    store = stubs.StubStore([stubs.StubNode("a", log, *[refusal] * 999)])
    with pytest.raises(exceptions.StoreUnavailableError):
        store.batch([_set(b"a")])
    assert len(_sent(log)) > 1


@pytest.mark.parametrize("before, error", [
    ((LOADED,), None), ((LOADED, TRY_AGAIN), None),
    ((stubs.LOST, LOADED), exceptions.UndeterminedError)])
def test_a_commit_is_too_late_for_sure_if_no_copy_came_before(
        log, before, error):
    too_late = b"al1700000000000"
    node = stubs.StubNode("a", log, *before, too_late)
    store = stubs.StubStore([node], request_timeout=5)
    item = _call(commits.COMMIT, b"a")
    if error is None:
        assert store.batch([item]) == [too_late]
    else:
        with pytest.raises(error) as caught:
            store.batch([item])
        assert caught.value.store_answers


class _LostMaster(stubs.StubNode):
    """A node that refuses connections until its replica takes over.

    :param served: function that tells whether it has.
    """

    def __init__(self, name, log, served):
        super().__init__(name, log, b"v")
        self._served = served

    def acquire(self, deadline):
        self.refuse = not self._served()
        return super().acquire(deadline)


@pytest.fixture
def clock(monkeypatch):
    """Return a list with the time, which passes in pauses only."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(
        0, now[0] + seconds))
    return now


def test_a_failover_is_waited_for_while_others_answer(log, clock):
    store = stubs.StubStore([
        stubs.StubNode("a", log, b"u"),
        _LostMaster("b", log, lambda: clock[0] > 109)], request_timeout=8)
    assert store.batch([_get(b"a"), _get(b"b")]) == [b"u", b"v"]


@pytest.mark.parametrize("request_timeout, given_up_after", [
    (8, 16), (20, 30), (30, 30)])
def test_a_failover_that_never_comes(
        log, clock, request_timeout, given_up_after):
    store = stubs.StubStore([
        stubs.StubNode("a", log, b"u"),
        _LostMaster("b", log, lambda: False)],
        request_timeout=request_timeout)
    with pytest.raises(exceptions.StoreUnavailableError):
        store.batch([_get(b"a"), _get(b"b")])
    assert 0 <= clock[0] - 100 - given_up_after < 1


def test_nobody_is_waited_for_if_no_server_answers(log, clock):
    store = stubs.StubStore([
        stubs.StubNode("a", log, b"u"),
        _LostMaster("b", log, lambda: False)], request_timeout=8)
    store.batch([_get(b"a")])
    clock[0] += 1
    with pytest.raises(exceptions.StoreUnavailableError):
        store.batch([_get(b"b")])
    assert clock[0] < 110


@pytest.mark.parametrize("refusal, given_up_after", [
    (CLUSTER_DOWN, 16), (TRY_AGAIN, 8)])
def test_what_a_cluster_that_is_down_and_a_move_refuse(
        log, clock, refusal, given_up_after):
    store = stubs.StubStore(
        [stubs.StubNode("a", log, *[refusal] * 999)], request_timeout=8)
    with pytest.raises(exceptions.StoreUnavailableError):
        store.batch([_get(b"a")])
    assert 0 <= clock[0] - 100 - given_up_after < 1


def test_a_write_to_a_node_that_refuses_connections_was_not_applied(log):
    node = stubs.StubNode("a", log)
    node.refuse = 10 ** 6
    store = stubs.StubStore([node])
    with pytest.raises(exceptions.StoreUnavailableError):
        store.batch([_set(b"a")])
    assert node.refuse < 10 ** 6 - 1


def test_a_write_whose_repetition_was_lost_is_undetermined(log):
    node = stubs.StubNode("a", log, TRY_AGAIN, stubs.LOST,
                          *[TRY_AGAIN] * 999)
    store = stubs.StubStore([node])
    with pytest.raises(exceptions.UndeterminedError):
        store.batch([_set(b"a")])


def test_half_a_batch_of_writes_is_undetermined(log):
    gone = stubs.StubNode("b", log)
    gone.refuse = 10 ** 6
    store = stubs.StubStore([stubs.StubNode("a", log, b"OK"), gone])
    with pytest.raises(exceptions.UndeterminedError):
        store.batch([_set(b"a"), _set(b"b")])
    with pytest.raises(exceptions.StoreUnavailableError):
        stubs.StubStore([stubs.StubNode("a", log, b"OK"), gone]).batch(
            [_get(b"a"), _set(b"b")])


def test_the_first_connection_is_not_waited_for(log):
    node = stubs.StubNode("a", log)
    node.refuse = 10 ** 6
    store = stubs.StubStore([node], answered=False, request_timeout=60)
    with pytest.raises(exceptions.StoreUnavailableError) as caught:
        store.batch([_set(b"a")])
    assert node.refuse == 10 ** 6 - 1
    assert "stub:6379" in str(caught.value)


def test_asking_goes_before_each_item_that_is_asked_for_elsewhere(log):
    ask = redis_exceptions.AskError("1 b:1")
    other = stubs.StubNode("b", log, LOADED, b"OK", 1, b"OK", 2)
    store = stubs.StubStore([stubs.StubNode("a", log, LOADED, ask, ask, 3),
                             other])
    store.asked = {0: other, 1: other}
    items = [_call(WRITE, b"a"), _set(b"a"), _set(b"a2")]
    assert store.batch(items) == [1, 2, 3]
    assert _sent(log, "b") == [[
        (b"SCRIPT", b"LOAD", WRITE.source),
        (b"ASKING",), (b"EVALSHA", WRITE.sha, b"1", b"a"),
        (b"ASKING",), (b"SET", b"a", b"v")]]


def test_wait_follows_the_writes_of_each_node(log):
    store = stubs.StubStore([
        stubs.StubNode("a", log, b"OK", b"v", 2),
        stubs.StubNode("b", log, b"OK", 1),
        stubs.StubNode("c", log, b"v")])
    replies = store.batch(
        [_set(b"a"), _get(b"a"), _set(b"b"), _get(b"c")],
        replicas=2, replicas_timeout_ms=70)
    assert replies == [b"OK", b"v", b"OK", b"v", 1]
    assert _sent(log, "a")[0][-1] == (b"WAIT", b"2", b"70")
    assert _sent(log, "b")[0][-1] == (b"WAIT", b"2", b"70")
    assert _sent(log, "c") == [[(b"GET", b"c")]]


def test_wait_has_its_own_time_on_top(log):
    node = stubs.StubNode("a", log, b"OK", 1)
    store = stubs.StubStore([node], socket_timeout=3.0, request_timeout=5.0)
    store.batch([_set(b"a")], replicas=1, replicas_timeout_ms=2000)
    assert node.limits == [5.0]


def test_reads_need_no_replicas(log):
    store = stubs.StubStore([stubs.StubNode("a", log, b"v")])
    assert store.batch([_get(b"a")], replicas=3) == [b"v", 3]


def test_a_repeated_write_is_fenced_before_wait(log):
    node = stubs.StubNode("a", log, stubs.LOST, 1, b"OK", 1)
    store = stubs.StubStore([node])
    assert store.batch([_set(b"a{t}")], replicas=1) == [1, 1]
    assert [command[0] for command in _sent(log)[1]] == [
        b"SET", b"SET", b"WAIT"]
    assert _sent(log)[1][1] == (b"SET", b"a{t}w", b"", b"PX", b"1000")


def test_a_lost_reply_to_wait_repeats_the_write(log):
    node = stubs.StubNode("a", log, b"OK", b"v", stubs.LOST,
                          b"OK", b"OK", 2)
    store = stubs.StubStore([node])
    assert store.batch([_set(b"a{t}"), _get(b"a{u}")], replicas=2) == [
        b"OK", b"v", 2]


@pytest.mark.parametrize("answered", [1, 2])
def test_a_lost_reply_to_wait_repeats_every_write(log, answered):
    """A new master need not have what the old one has answered."""
    node = stubs.StubNode(
        "a", log, *[b"OK"] * answered, stubs.LOST, b"OK", b"OK", b"OK", 1)
    store = stubs.StubStore([node])
    assert store.batch([_set(b"a{t}"), _set(b"a{u}")], replicas=1) == [
        b"OK", b"OK", 1]
    assert [command[1] for command in _sent(log)[1][:2]] == [
        b"a{t}", b"a{u}"]


def test_a_lost_reply_to_wait_does_not_repeat_what_was_refused(log):
    refused = redis_exceptions.ResponseError("WRONGTYPE")
    node = stubs.StubNode(
        "a", log, refused, b"OK", stubs.LOST, b"OK", b"OK", 1)
    store = stubs.StubStore([node])
    with pytest.raises(exceptions.StoreReplyError, match="WRONGTYPE"):
        store.batch([_set(b"a{t}"), _set(b"a{u}")], replicas=1)
    assert [command[1] for command in _sent(log)[1][:-1]] == [
        b"a{u}", b"a{u}w"]


def test_wait_of_a_node_that_refused_the_write_does_not_count(log):
    node = stubs.StubNode(
        "a", log, TRY_AGAIN,
        redis_exceptions.ResponseError("WAIT cannot be used with replica"),
        b"OK", b"OK", 1)
    store = stubs.StubStore([node])
    assert store.batch([_set(b"a{t}")], replicas=1) == [b"OK", 1]


def test_wait_counts_where_the_write_went_in_the_end(log):
    other = stubs.StubNode("b", log, b"OK", b"OK", b"OK", b"OK", 2)
    store = stubs.StubStore([stubs.StubNode(
        "a", log, redis_exceptions.AskError("1 b:1"), 0), other])
    store.asked = {0: other}
    assert store.batch([_set(b"a{t}")], replicas=2) == [b"OK", 2]
    # The fence belongs to the slot that is on its way, too.
    assert [command[0] for command in _sent(log, "b")[0]] == [
        b"ASKING", b"SET", b"ASKING", b"SET", b"WAIT"]


def test_wait_without_its_fence_counts_as_no_replica(log):
    """It would wait for nothing, and every replica has that."""
    node = stubs.StubNode(
        "a", log, stubs.LOST, b"OK",
        redis_exceptions.OutOfMemoryError("OOM command not allowed"), 2)
    store = stubs.StubStore([node])
    assert store.batch([_set(b"a{t}")], replicas=2) == [b"OK", 0]


def test_a_failing_wait_counts_as_no_replica(log):
    node = stubs.StubNode(
        "a", log, b"OK", redis_exceptions.ResponseError("ERR unknown"))
    store = stubs.StubStore([node])
    assert store.batch([_set(b"a{t}")], replicas=1) == [b"OK", 0]


def test_a_missing_password_is_a_configuration_error(log):
    node = stubs.StubNode("a", log, redis_exceptions.AuthenticationError(
        "Authentication required."))
    with pytest.raises(exceptions.ConfigurationError, match="password"):
        stubs.StubStore([node]).batch([_get(b"a")])


def test_a_missing_permission_is_a_configuration_error(log):
    node = stubs.StubNode("a", log, redis_exceptions.NoPermissionError(
        "this user has no permissions to run the 'get' command"))
    with pytest.raises(exceptions.ConfigurationError, match="permission"):
        stubs.StubStore([node]).batch([_get(b"a")])
    assert len(node.idle) == 1


def test_a_missing_permission_to_load_scripts_is_told(log):
    """The server then does not know the script, which would pass."""
    node = stubs.StubNode("a", log, redis_exceptions.NoPermissionError(
        "this user has no permissions to run the 'script|load' command"),
        NO_SCRIPT)
    with pytest.raises(exceptions.ConfigurationError, match="script.load"):
        stubs.StubStore([node]).batch([_call(WRITE, b"a")])


def test_a_server_that_became_a_replica_is_connected_anew(log):
    """Behind the same name or address there may be another one by now."""
    node = stubs.StubNode("a", log, b"v", redis_exceptions.ReadOnlyError(
        "You can't write against a read only replica."), b"OK")
    old, idle = stubs.StubConnection(node), stubs.StubConnection(node)
    node.idle = [idle, old]
    store = stubs.StubStore([node], request_timeout=5)
    assert store.batch([_get(b"a"), _set(b"a2")]) == [b"v", b"OK"]
    assert not old.is_open
    assert old not in node.idle and idle not in node.idle


def test_an_interrupted_connection_is_not_used_again(log):
    class Interrupt(BaseException):
        """As KeyboardInterrupt or eventlet's Timeout."""

    nodes = [stubs.StubNode("a", log, b"v"),
             stubs.StubNode("b", log, Interrupt())]
    store = stubs.StubStore(nodes)
    with pytest.raises(Interrupt):
        store.batch([_get(b"a"), _get(b"b")])
    assert not nodes[0].idle and not nodes[1].idle
    assert ("close", "a") in log and ("close", "b") in log


def test_scan_asks_every_master_to_the_end(log):
    store = stubs.StubStore([
        stubs.StubNode("a", log, [b"7", [b"k1"]], [b"0", [b"k2"]]),
        stubs.StubNode("b", log, [b"0", []])])
    assert list(store.scan(b"k*", count=10)) == [b"k1", b"k2"]
    assert _sent(log)[1] == [
        (b"SCAN", b"7", b"MATCH", b"k*", b"COUNT", b"10")]


def test_check_and_scan_of_a_store_that_is_down(log):
    node = stubs.StubNode("a", log)
    node.refuse = 2
    store = stubs.StubStore([node])
    with pytest.raises(exceptions.StoreUnavailableError):
        store.check()
    with pytest.raises(exceptions.StoreUnavailableError):
        list(store.scan(b"*"))


def test_a_busy_server_does_not_tell_where_keys_are(log):
    """The next one is asked, as where a server does not answer."""
    node = stubs.StubNode("a", log, redis_exceptions.ResponseError(
        "BUSY Redis is busy running a script."))
    with pytest.raises(repetition.NotSent, match="busy"):
        stubs.StubStore([node])._ask(node, (b"CLUSTER", b"SLOTS"))


def test_every_reading_command_is_known_as_one():
    assert not raw.is_write(_get(b"a"))
    assert not raw.is_write(base.command("zrangebylex", b"a"))
    assert raw.is_write(_set(b"a"))
    assert raw.is_write(_call(WRITE, b"a"))
    assert not raw.is_write(_call(READ, b"a"))
