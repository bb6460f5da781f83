# SPDX-License-Identifier: Apache-2.0
"""Flavors: what random calls come upon too seldom."""

from tests.differential import clouds

_MODULE = "nova.objects.flavor:"


def test_destroyed_flavor_has_no_extra_specs():
    cloud = clouds.KVSCloud()
    context = clouds.context()
    cloud.call(_MODULE + "_flavor_create", context, {
        "name": "a", "flavorid": "a", "memory_mb": 0, "vcpus": 0,
        "extra_specs": {"k": "v"}})
    gone = cloud.call(_MODULE + "_flavor_destroy", context, flavorid="a")
    assert gone.extra_specs == []
