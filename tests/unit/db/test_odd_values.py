# SPDX-License-Identifier: Apache-2.0
"""Values that no well-behaved caller passes: Nova's answers to them.

Each call runs as Nova's own function on SQLite and as the native one, and
the answers, exceptions included, must be the same.
"""

import pytest

from nova_kvs.db import errors
from nova_kvs.db import native
from nova_kvs.db import session
from tests.differential import clouds

SERVER = "00000001-0000-4000-8000-000000000000"
BEYOND_64_BITS = 10 ** 20
FLAGS = ["0", "1", "true", "x", "", 0, 1, 2, 1.0, "1.0", None, True]


@pytest.fixture
def pair():
    made = clouds.Pair()
    yield made
    made.compare_rows()
    made.close()


def _server(pair, **values):
    pair.call("instance_create", clouds.context(), {
        "uuid": SERVER, "project_id": "p1", **values})


def test_no_bool_is_compared_as_what_it_is(pair):
    _server(pair, locked=True)
    for hidden in True, False, None:
        pair.call("migration_create", clouds.context(), {
            "instance_uuid": SERVER, "status": "done", "hidden": hidden})
    for flag in FLAGS:
        pair.call("migration_get_all_by_filters", clouds.context(),
                  {"hidden": flag})
        pair.call("instance_get_all_by_filters", clouds.context(),
                  {"locked": flag})


def test_disabled_services_by_a_text(pair):
    pair.call("service_create", clouds.context(), {
        "host": "h", "binary": "nova-compute", "topic": "compute",
        "disabled": True})
    for flag in FLAGS:
        pair.call("service_get_all", clouds.context(), flag)


@pytest.mark.parametrize("name", [
    "migration_get", "service_get", "compute_node_get",
    "security_group_get"])
def test_id_beyond_64_bits(pair, name):
    pair.call(name, clouds.context(), BEYOND_64_BITS)


def test_value_beyond_64_bits(pair):
    _server(pair)
    pair.call("instance_update", clouds.context(), SERVER,
              {"memory_mb": BEYOND_64_BITS})
    pair.call("virtual_interface_create", clouds.context(), {
        "instance_uuid": SERVER, "network_id": BEYOND_64_BITS})
    pair.call("service_create", clouds.context(), {
        "host": "h", "report_count": BEYOND_64_BITS})


def test_default_group_of_nobody(pair):
    for project, user in ((None, "u1"), ("p1", None)):
        pair.call("security_group_ensure_default", clouds.context(
            project, user, is_admin=False))


def test_tag_without_a_name(pair):
    _server(pair)
    pair.call("instance_tag_add", clouds.context(), SERVER, None)
    pair.call("instance_tag_get_by_instance_uuid", clouds.context(),
              SERVER)


@pytest.mark.parametrize("filters", [
    {"metadata": {"a": 5}}, {"system_metadata": {"min_ram": 0}},
    {"system_metadata": {"flag": True}}, {"tags": [5]}, {"tags-any": [5]},
    {"not-tags": [5]}, {"not-tags-any": [5]}])
def test_number_in_a_filter_of_text(pair, filters):
    _server(pair, metadata={"a": "5"},
            system_metadata={"min_ram": "0", "flag": "1"})
    pair.call("instance_tag_add", clouds.context(), SERVER, "5")
    pair.call("instance_get_all_by_filters", clouds.context(), filters)


@pytest.mark.parametrize("pattern", [
    "{e}", "web{i}", "we{1}b", "[[:alpha:]]", "(?i)WEB", "b|[{]", "(w)\\1",
    "(a|b)*$", "(?>web)", "w++", "\\bweb\\b"])
def test_expressions_are_those_of_re(pair, pattern):
    for number, name in enumerate(("web", "web{i}", "xyz", "{e}")):
        pair.call("instance_create", clouds.context(), {
            "uuid": SERVER[:-1] + str(number), "project_id": "p1",
            "display_name": name})
    pair.call("instance_get_all_by_filters", clouds.context(),
              {"display_name": pattern})


@pytest.mark.parametrize("keys, values", [
    (["host", "id"], [None, 1]), (["locked", "id"], [None, 1]),
    (["nothing", "id"], ["a", 1])])
def test_position_that_sql_cannot_compare(pair, keys, values):
    for name in ("instance_get_by_sort_filters",
                 "migration_get_by_sort_filters"):
        _is_for_nova(pair, name, keys, ["asc", "asc"], values)


def _is_for_nova(pair, name, *args):
    """See that a call is left to Nova's own function, which refuses it."""
    function = native.REGISTRY["%s:%s" % (native.MAIN, name)].native
    with pytest.raises(errors.Fallback):
        function(session.Session(pair.kvs.main), clouds.context(), *args)


def _device(pair):
    pair.call("block_device_mapping_create", clouds.context(), {
        "instance_uuid": SERVER, "source_type": "volume",
        "destination_type": "volume", "volume_id": "v"}, False)


def test_updated_device_is_read_again(pair):
    _server(pair)
    _device(pair)
    device = pair.reference.rows(clouds.main_models.BASE)[
        "block_device_mapping"][0]
    pair.call("block_device_mapping_update", clouds.context(), device["id"],
              {"volume_size": "7", "no_device": 0}, False)


def test_updated_pci_device_is_read_again(pair):
    values = {"compute_node_id": 1, "address": "a", "vendor_id": "v",
              "product_id": "p", "dev_type": "t", "dev_id": "i",
              "label": "l", "status": "available"}
    pair.call("pci_device_update", clouds.context(), 1, "a", values)
    pair.call("pci_device_update", clouds.context(), 1, "a",
              {"numa_node": "1", "request_id": 5})


def test_device_with_an_unknown_column(pair):
    _is_for_nova(pair, "block_device_mapping_update_or_create", {
        "instance_uuid": SERVER, "source_type": "volume",
        "destination_type": "volume", "device_name": None, "bogus": 1},
        False)
