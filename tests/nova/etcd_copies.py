# SPDX-License-Identifier: Apache-2.0
"""Copies of what is stored in etcd under a prefix."""

from nova_kvs.store.etcd import client
from nova_kvs.store.etcd import layout
from nova_kvs.store.etcd import messages

_PAGE = 1000
#: etcd takes 128 operations in one transaction by default.
_PUTS = 100


def read(store, prefix):
    """Return pairs of etcd's keys and values that begin with a prefix."""
    pairs = []
    start, end = prefix, layout.after_prefix(prefix)
    while True:
        answer, = store._client.call([(client.RANGE, messages.range_request(
            start, end, limit=_PAGE))])
        found = messages.parse_range(answer)
        pairs += [(item.key, item.value) for item in found.items]
        if not found.more:
            return pairs
        start = pairs[-1][0] + b"\0"


def write(store, pairs):
    """Write pairs of keys and values."""
    calls = [(client.TXN, messages.txn_request((), [
        messages.put_op(key, value) for key, value in pairs[at:at + _PUTS]]))
        for at in range(0, len(pairs), _PUTS)]
    if calls:
        for answer in store._client.call(calls, writes=True):
            if isinstance(answer, Exception):
                raise answer
