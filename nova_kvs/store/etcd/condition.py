# SPDX-License-Identifier: Apache-2.0
"""Asks members for their condition, and if the user may do what is needed."""

import re

from nova_kvs import exceptions
from nova_kvs.store.etcd import client as calls
from nova_kvs.store.etcd import messages
from nova_kvs.store import operations

_ALARM = re.compile(r"(?:memberID:(\d+) )?alarm:(\w+)")


def facts(driver, client):
    """Return what ``Store.check`` does.

    For each member ``address``, ``name``, ``role`` (leader, follower or
    learner), ``version``, ``used_memory`` (bytes of its data file),
    ``used_in_data`` (of them in use; the rest is free until it is
    defragmented) and ``errors``. ``alarms`` is a list of pairs of a member's
    name and the alarm.

    :raises nova_kvs.exceptions.StoreUnavailableError: if no member answers.
    """
    servers = []
    failures = []
    answered = None
    for member in client.members:
        try:
            status = client.ask_member(member, calls.STATUS)
        except exceptions.StoreUnavailableError as exc:
            failures.append((member.name, exc))
            continue
        answered = answered or member
        servers.append(_status(member.name, status))
    if answered is None:
        raise failures[0][1]
    members = []
    for tag, value in messages.fields(
            client.ask_member(answered, calls.MEMBERS)):
        if tag == 2:
            members.append(_member(value))
    names = {member["id"]: member["name"] for member in members}
    alarms = set()
    for server in servers:
        server["name"] = names.get(server["id"], "")
        # Alarms are the cluster's; to ask for them takes a majority.
        for found in _ALARM.finditer("\n".join(server["errors"])):
            alarms.add((names.get(int(found[1] or 0), "?"), found[2]))
    return {"driver": driver, "servers": servers, "members": members,
            "alarms": sorted(alarms),
            "unreachable": [name for name, _ in failures]}


def _status(address, data):
    header = leader = 0
    server = {"address": address, "version": "", "used_memory": 0,
              "used_in_data": 0, "errors": [], "role": "follower"}
    learner = False
    for tag, value in messages.fields(data):
        if tag == 1:
            header = dict(messages.fields(value))
        elif tag == 2:
            server["version"] = value.decode()
        elif tag == 3:
            server["used_memory"] = value
        elif tag == 4:
            leader = value
        elif tag == 8:
            server["errors"].append(value.decode())
        elif tag == 9:
            server["used_in_data"] = value
        elif tag == 10:
            learner = bool(value)
    server["id"] = header.get(2, 0)
    server["revision"] = header.get(3, 0)
    server["has_leader"] = bool(leader)
    if learner:
        server["role"] = "learner"
    elif leader and leader == server["id"]:
        server["role"] = "leader"
    return server


def _member(data):
    member = {"id": 0, "name": "", "urls": []}
    for tag, value in messages.fields(data):
        if tag == 1:
            member["id"] = value
        elif tag == 2:
            member["name"] = value.decode()
        elif tag == 4:
            member["urls"].append(value.decode())
    return member


def rehearse(store, key):
    """Run what needs permissions, on a key under which there is nothing.

    :raises nova_kvs.exceptions.KVSError: naming what is not allowed.
    """
    store.batch([operations.ReadPartition(key)])
    store.batch([operations.Increment(key, 1)])
    store.batch([operations.SetLife(key, 1000)])
    store.batch([operations.Delete(key)])
