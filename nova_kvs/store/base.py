# SPDX-License-Identifier: Apache-2.0
"""What a key/value store must do: bytes in, bytes out, one batch a trip."""

import abc
import dataclasses
import enum
import typing


class Characteristics(enum.Enum):
    """What a driver promises beyond the interface."""

    #: Data outlives the process.
    PERSISTENT = "persistent"
    #: Several processes see the same data.
    SHARED = "shared"
    #: Keys are spread over several servers.
    PARTITIONED = "partitioned"
    #: Commits can wait for replicas.
    REPLICATED = "replicated"


class Script(typing.NamedTuple):
    """A Lua script."""

    name: str
    source: bytes
    sha: bytes
    #: False for a script that only reads: it may go to a replica.
    writes: bool = True


class Command(typing.NamedTuple):
    """One Redis command on one key; ``args[0]`` is the command's name."""

    key: bytes
    args: tuple


class ScriptCall(typing.NamedTuple):
    """One run of a script; all its keys share one hash slot."""

    script: Script
    keys: tuple
    args: tuple


@dataclasses.dataclass
class Stats:
    """What a store has done since it was opened."""

    round_trips: int = 0
    commands: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


class Store(abc.ABC):
    """A key/value store. Safe for threads; usable after a fork."""

    CHARACTERISTICS: frozenset = frozenset()

    stats: Stats

    @abc.abstractmethod
    def batch(self, items):
        """Send every item, then read every reply: one round trip.

        Items of one key keep their order; there is no atomicity between
        items.

        :param items: sequence of Command and ScriptCall.
        :returns: list of replies (bytes, int, None or lists of them), in
            the order of the items.
        :raises nova_kvs.exceptions.UndeterminedError: if a reply was lost
            and something in the batch writes.
        :raises nova_kvs.exceptions.StoreUnavailableError: if nothing was
            applied, or only reads were asked for.
        :raises nova_kvs.exceptions.StoreReplyError: if the server answered
            an item with an error.
        """

    @abc.abstractmethod
    def wait(self, key, replicas, timeout_ms):
        """Wait until replicas have what was last written to a key's server.

        Must use the connection that wrote (WAIT counts only there).

        :returns: number of replicas that acknowledged.
        """

    @abc.abstractmethod
    def scan(self, pattern, count=1000):
        """Yield every key that matches, over all servers.

        As SCAN: a key may come twice, one that comes or goes meanwhile may
        be missing.
        """

    @abc.abstractmethod
    def check(self):
        """Return a dict of facts about the servers, for operators.

        :raises nova_kvs.exceptions.StoreUnavailableError:
        """

    @abc.abstractmethod
    def close(self):
        """Give connections back to the system."""
