# SPDX-License-Identifier: Apache-2.0
"""Lists of many servers: the native functions against Nova's on SQLite."""

import random

from tests.differential import clouds

SERVERS = 24
CALLS = 40
NAMES = ("a", "b", "key", "x" * 130 + "a", "x" * 130 + "b", "x" * 100, "",
         None)
STATES = ("active", "error", "soft-delete")


def uuid_of(number):
    return "%08d-0000-4000-8000-000000000000" % number


def values_of(chance):
    return {
        "display_name": chance.choice(NAMES),
        "image_ref": chance.choice(("i1", "i2", "")),
        "user_id": chance.choice(("u1", "u2")),
        "key_name": chance.choice(("k", None)),
        "availability_zone": chance.choice(("z1", "z2", None)),
        "instance_type_id": chance.choice((1, 2)),
        "locked": chance.choice((True, False)),
        "vm_state": chance.choice(STATES)}


def test_pages_of_lists():
    chance = random.Random(5)
    pair = clouds.Pair()
    context = clouds.context()
    try:
        for number in range(SERVERS):
            pair.call("instance_create", context, {
                "uuid": uuid_of(number),
                "project_id": chance.choice(("p1", "p2")),
                **values_of(chance)})
        for number in range(0, SERVERS, 3):
            pair.call("instance_update", context, uuid_of(number), values_of(
                chance))
        for number in range(1, SERVERS, 7):
            pair.call("instance_destroy", context, uuid_of(number))
        for _turn in range(CALLS):
            list_some(pair, context, chance)
    finally:
        pair.close()


def list_some(pair, context, chance):
    """Ask for a page of a list, whatever it filters and sorts by."""
    filters = {
        "deleted": chance.choice((False, False, True)),
        "soft_deleted": chance.choice((True, False)),
        "display_name": chance.choice(("a", "x+b$", "^key$", "nobody")),
        "image_ref": chance.choice(("i1", ["i1", "i2"], "")),
        "user_id": chance.choice(("u1", ["u1", "u3"])),
        "key_name": "k", "instance_type_id": 2,
        "locked": chance.choice((True, False)),
        "availability_zone": chance.choice(("z", "z1")),
        "vm_state": chance.choice((*STATES, ["error"], list(STATES[:2])))}
    keys = chance.sample((
        "display_name", "image_ref", "locked", "key_name", "created_at",
        "availability_zone", "host", "project_id"), chance.choice((1, 1, 2)))
    keys.append("uuid")
    pair.call(
        "instance_get_all_by_filters_sort", context, {
            name: filters[name] for name in chance.sample(
                sorted(filters), chance.choice((0, 1, 1, 2, 3)))},
        limit=chance.choice((None, 1, 3, 10)),
        marker=chance.choice((None, None, uuid_of(
            2 + 3 * chance.randrange(SERVERS // 3 - 1)))),
        columns_to_join=chance.choice((None, [], ["flavor"])),
        sort_keys=keys,
        sort_dirs=[chance.choice(("asc", "desc")) for _ in keys])
