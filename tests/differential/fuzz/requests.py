# SPDX-License-Identifier: Apache-2.0
"""Requests to Nova and Placement with values that nobody thought of."""

from urllib import parse

from hypothesis import strategies as st

from nova_kvs.demo import standins
from tests.differential.fuzz import pair

NOVA, PLACEMENT = pair.NOVA, pair.PLACEMENT
SERVERS = ["plain", "stopped", "other", "failed", "removed", "resized"]
_ABSENT = "0badc0de-0000-4000-8000-000000000000"
_KEY = ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6PUyX5GDVHj8sTqXAUrl4qWNzT"
        "bWoVw2lZ0pVq2l1m a@b")

_texts = [
    "", " ", "0", "-1", "1", "2", "007", "1.5", "1e3", "inf", "nan", "0x10",
    "true", "True", "FALSE", "None", "null", "yes", "%", "%%", "_", "'",
    '"', "\\", "a'b", "a\x00b", "\n", "é", "É", "ß", "\U0001f600", "İ",
    "2147483648", "9223372036854775807", "9223372036854775808",
    "-9223372036854775809", "1" * 40, "x" * 255, "x" * 256, "x" * 3000,
    "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00", "2026-13-01T00:00",
    "{e}", "web{i}", "[", "(a+)+$", "^$", ".*", "(?i)PLAIN", "pla.n",
    "[[:alpha:]]", "(?P<a>.)(?P=a)", "a||b", "**", "$", "a,b", ",", ":",
    "a:b", "a=b", "{}", "[]", '{"a": "b"}', "[{}]", '{"a": null}',
    '{"a": 1}', '{"a": ["b"]}', "..", "/", "a/b", "?", "#", "&", "+", "in:a",
    "!a", "in:", "a b", " a ", "ACTIVE", "active", "error", "compute1",
    "compute2", "COMPUTE1", "plain", "key", "demo", "asc", "desc", "nova",
    "uuid", "created_at", "display_name", "id", "1:2", "fe80::1",
    "10.0.0.1", "VCPU:1", "VCPU:0", "VCPU:1,MEMORY_MB:64", "CUSTOM_A",
    "CUSTOM_A:1", "COMPUTE_NODE", "member", "public", _ABSENT,
    _ABSENT.upper(), _ABSENT.replace("-", ""), "${failed}", "${removed}",
    "${plain}", "${other}", "${group}", "${flavor}", "${aggregate}",
    "${node1}", "${provider}"]
texts = st.one_of(st.sampled_from(_texts), st.text(max_size=5).filter(
    lambda text: text.isprintable()))
_names = st.sampled_from(SERVERS).map("${%s}".__mod__)
servers = st.one_of(*5 * [_names], texts)


def _or_odd(*usual):
    """Return a strategy of usual texts and now and then an odd one."""
    return st.one_of(*4 * [st.sampled_from(usual)], texts)


flavors = _or_odd("${flavor}", "${flavor2}", "${private}", "thing1")
aggregates = _or_odd("${aggregate}", "${made}")
groups = _or_odd("${group}", "${made_group}")
hypervisors = _or_odd("${node1}", "compute1", "compute")
services = _or_odd("${service}")
providers = _or_odd("${provider}", "${node1}", "${child}")
classes = _or_odd("CUSTOM_A", "CUSTOM_B", "VCPU", "MEMORY_MB")
traits = _or_odd("CUSTOM_T", "HW_CPU_X86_AVX", "COMPUTE_NODE")
_moments = st.sampled_from([
    "2026-01-01T00:00:00Z", "2020-01-01", "2026-01-01T00:00:00+14:00",
    "2099-12-31T23:59:59.999999Z", "2026-01-01T00:00:00.5",
    "2020-01-01T00:00:00-00:30", "2020-01-01 00:00:00+5:30",
    "2020-01-01T00:00:00-23:59", "2020-01-01T00:00:00+24:00",
    "20200101T000000Z", "2020-W01-1", "2020-001", "2020-01", "2020",
    "2020-01-01T24:00:00Z", "2020-06-30T23:59:60Z", "1577836800",
    "2020-01-01T00:00:00.123456789Z", "2020-01-01T00:00:00,5Z",
    "2020-01-01T00:00:00 01:00", "\uff12020-01-01", "2020-02-30T00:00:00Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "0000-01-01T00:00:00Z", "-2020-01-01T00:00:00Z", "now", "2020-01-01T"])
_addresses = st.sampled_from([
    "10.0.0.1", "010.0.0.1", "10.0.0.0/8", "1.1", "0x7f.1", "^10", "10.*",
    "10\\.0", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "FE80::1", "fe80:",
    "[::1]", "(", "\uff11.1.1.1"])
_tag_lists = st.sampled_from([
    "a", "\u00e9", "a,\u00e9", "a,b", ",a", "a,,b", "a,", "A", "a,a", "a, b",
    "a" * 61, "a/b", "%", "_", "a'", ",".join("t%d" % n for n in range(51)),
    ",".join("t%d" % n for n in range(50)), "\U0001f600", "e\u0301"])
_whole = st.sampled_from(["0", "1", "2", "1000"])
_flags = st.sampled_from(["true", "false", "0", "1", "True"])
#: Values that the API takes for a name in a query.
_USUAL = {
    "limit": _whole, "offset": _whole, "marker": st.sampled_from(
        ["${plain}", "${failed}", "${removed}", "${flavor}", "key",
         "${node1}", "1", "${other}", "${stopped}", "plain", " ${plain}"]),
    "sort_key": st.sampled_from([
        "uuid", "created_at", "display_name", "host", "id", "vm_state",
        "flavorid", "name", "memory_mb", "locked", "launched_at", "key_name",
        "task_state", "progress", "auto_disk_config", "access_ip_v4",
        "display_description", "hostname", "node", "updated_at",
        "availability_zone", "config_drive", "image_ref", "instance_type_id",
        "kernel_id", "launch_index", "power_state", "project_id", "user_id",
        "root_device_name", "terminated_at", "deleted", "cell_name",
        "metadata", "info_cache", "__class__", "instance_uuid", "swap",
        "vcpus", "root_gb", "ephemeral_gb", "rxtx_factor", "is_public",
        "extra_specs", "UUID", "created_at ", "uuid,host"]),
    "ip": _addresses, "ip6": _addresses, "access_ip_v4": _addresses,
    "access_ip_v6": _addresses, "tags": _tag_lists, "tags-any": _tag_lists,
    "not-tags": _tag_lists, "not-tags-any": _tag_lists,
    "metadata": st.sampled_from([
        '{"a": "b"}', '{"a": ["b", "c"]}', '{"c": ""}', '[{"a": "b"}]',
        '{"a": "b", "c": ""}', "{'a': 'b'}", '{"a": 1}', '{"a": true}',
        '{"A": "b"}', '{"a": "b"', '{"a": {"b": 1}}', "NaN", "1", '"a"']),
    "created_at": _moments, "updated_at": _moments, "launched_at": _moments,
    "terminated_at": _moments, "name": st.sampled_from(
        ["plain", "^plain$", "PLAIN", "pl.in", "p|o", "", "[a-z]+"]),
    "sort_dir": st.sampled_from(["asc", "desc", "ASC", "desc "]),
    "changes-since": _moments, "changes-before": _moments, "start": _moments,
    "end": _moments, "deleted": _flags, "soft_deleted": _flags,
    "locked": _flags, "all_tenants": _flags, "detailed": _flags,
    "is_public": st.sampled_from(["none", "true", "0"]), "minDisk": _whole,
    "minRam": st.sampled_from(["0", "64", "65"]), "reserved": _flags,
    "with_servers": _flags, "all_projects": _flags, "hidden": _flags,
    "status": st.sampled_from(["ACTIVE", "SHUTOFF", "ERROR", "DELETED",
                               "finished", "error"]),
    "vm_state": st.sampled_from(["active", "error", "stopped", "deleted"]),
    "power_state": st.sampled_from(["0", "1", "4", "^1$"]),
    "host": st.sampled_from(["compute1", "compute2"]),
    "migration_type": st.sampled_from(["resize", "migration"]),
    "instance_uuid": _names, "uuid": _names,
    "flavor": st.sampled_from(["${flavor}", "${flavor2}"]),
    "resources": st.sampled_from(["VCPU:1", "VCPU:1,MEMORY_MB:64"]),
    "resources1": st.sampled_from(["VCPU:1", "MEMORY_MB:64"]),
    "group_policy": st.sampled_from(["none", "isolate"]),
    "required": st.sampled_from(["COMPUTE_NODE", "!CUSTOM_T",
                                 "in:CUSTOM_T,COMPUTE_NODE"]),
    "associated": _flags, "in_tree": st.sampled_from(
        ["${provider}", "${node1}"]),
    "binary": st.sampled_from(["nova-compute", "nova-scheduler"]),
    "hypervisor_hostname_pattern": st.sampled_from(["compute", "1"]),
    "project_id": st.sampled_from([
        "6f70656e737461636b20646f65732069", "p2"]),
}
projects = st.sampled_from(
    ["${project}", "p2", "", "x" * 300, "é", _ABSENT, "%"])
values = st.recursive(
    st.one_of(texts, st.sampled_from([
        None, True, False, 0, 1, -1, 2, 1.5, 2 ** 31, 2 ** 63, 2 ** 64,
        10 ** 30])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(texts, inner, max_size=2)), max_leaves=3)
versions = st.sampled_from(
    ["2.1", "2.25", "2.33", "2.53", "2.60", "2.73", "2.75", "2.88", "2.96",
     "2.100"])
placement_versions = st.sampled_from(["1.0", "1.10", "1.20", "1.31", "1.39"])


def quoted(*parts):
    return "/".join(parse.quote(part, safe="${}") for part in parts)


def _query(names):
    """Return a strategy of query strings with some of these names."""
    words = names.split()
    known = st.sampled_from(words).flatmap(lambda name: st.tuples(
        st.just(name), st.one_of(texts, *2 * [_USUAL.get(name, texts)])))
    return st.lists(
        st.one_of(*9 * [known], st.tuples(texts, texts)), max_size=3).map(
            lambda items: "?" + "&".join(
                "%s=%s" % (quoted(name), quoted(value))
                for name, value in items))


def get(path, query="x", *arguments, api=NOVA):
    """Return a strategy of GET requests.

    :param path: with ``%s`` for each argument.
    :param query: names that the query may have.
    :param arguments: strategies of texts.
    """
    return st.builds(
        lambda parts, query, version: pair.Request(
            api, "GET", path % tuple(quoted(part) for part in parts) + query,
            version=version),
        st.tuples(*arguments), _query(query),
        placement_versions if api == PLACEMENT else versions)


_SERVER_FILTERS = (
    "name display_name hostname status vm_state task_state power_state host "
    "node image flavor tenant_id project_id user_id all_tenants deleted "
    "soft_deleted limit marker sort_key sort_dir changes-since "
    "changes-before ip ip6 tags tags-any not-tags not-tags-any locked "
    "locked_by key_name config_drive availability_zone reservation_id "
    "launched_at terminated_at created_at kernel_id ramdisk_id description "
    "access_ip_v4 access_ip_v6 auto_disk_config progress launch_index uuid "
    "root_device_name metadata system_metadata changes-since created_at_x "
    "updated_at")
_MIGRATIONS = ("status host instance_uuid source_compute hidden "
               "migration_type limit marker changes-since changes-before "
               "user_id project_id source_node")

reads = st.one_of(
    *4 * [get("/servers", _SERVER_FILTERS)],
    *4 * [get("/servers/detail", _SERVER_FILTERS)],
    get("/servers/%s", "x", servers),
    *[get("/servers/%s/" + name, "limit marker changes-since changes-before",
          servers)
      for name in ("metadata", "tags", "ips", "os-instance-actions",
                   "os-volume_attachments", "os-security-groups",
                   "topology", "migrations", "diagnostics", "shares")],
    get("/servers/%s/metadata/%s", "x", servers, _or_odd("a", "c")),
    get("/servers/%s/tags/%s", "x", servers, _or_odd("a")),
    get("/servers/%s/os-instance-actions/%s", "x", servers, texts),
    *2 * [get("/flavors/detail", "limit marker sort_key sort_dir is_public "
              "minDisk minRam")],
    get("/flavors", "limit marker sort_key sort_dir is_public minDisk minRam"),
    get("/flavors/%s", "x", flavors),
    get("/flavors/%s/os-extra_specs", "x", flavors),
    get("/flavors/%s/os-extra_specs/%s", "x", flavors, _or_odd("a")),
    get("/flavors/%s/os-flavor-access", "x", flavors),
    get("/os-aggregates"), get("/os-aggregates/%s", "x", aggregates),
    *2 * [get("/os-keypairs", "user_id limit marker")],
    get("/os-keypairs/%s", "user_id", _or_odd("key")),
    get("/os-server-groups", "all_projects limit offset"),
    get("/os-server-groups/%s", "x", groups),
    *3 * [get("/os-migrations", _MIGRATIONS)],
    get("/os-services", "host binary"),
    get("/os-hypervisors",
        "hypervisor_hostname_pattern with_servers limit marker"),
    get("/os-hypervisors/detail",
        "hypervisor_hostname_pattern with_servers limit marker"),
    get("/os-hypervisors/%s", "with_servers", hypervisors),
    get("/os-hypervisors/%s/search", "x", hypervisors),
    get("/os-hypervisors/%s/servers", "x", hypervisors),
    get("/os-hypervisors/statistics"),
    get("/os-availability-zone/detail"), get("/limits", "tenant_id reserved"),
    get("/os-quota-sets/%s", "user_id", projects),
    get("/os-quota-sets/%s/detail", "user_id", projects),
    get("/os-quota-class-sets/%s", "x", texts),
    get("/os-simple-tenant-usage", "start end detailed limit marker"),
    get("/os-simple-tenant-usage/%s", "start end limit marker", projects),
    get("/os-instance_usage_audit_log/%s", "x", texts),
    get("/os-console-auth-tokens/%s", "x", texts),
    get("/os-assisted-volume-snapshots/%s", "x", texts),
    *[get(path, query, *arguments, api=PLACEMENT)
      for path, query, arguments in (
          ("/resource_providers", "name uuid in_tree resources required "
           "member_of", ()),
          ("/resource_providers/%s", "x", (providers,)),
          ("/resource_providers/%s/inventories", "x", (providers,)),
          ("/resource_providers/%s/inventories/%s", "x", (providers, classes)),
          ("/resource_providers/%s/usages", "x", (providers,)),
          ("/resource_providers/%s/aggregates", "x", (providers,)),
          ("/resource_providers/%s/traits", "x", (providers,)),
          ("/resource_providers/%s/allocations", "x", (providers,)),
          ("/allocation_candidates", "resources required limit group_policy "
           "member_of in_tree resources1 required1 root_required "
           "same_subtree", ()),
          ("/traits", "name associated", ()), ("/traits/%s", "x", (traits,)),
          ("/resource_classes", "x", ()),
          ("/resource_classes/%s", "x", (classes,)),
          ("/usages", "project_id user_id consumer_type", ()),
          ("/allocations/%s", "x", (servers,)))])


def send(method, path, body, *arguments, api=NOVA, makes=None):
    """Return a strategy of requests that write.

    :param body: strategy of what is sent.
    """
    return st.builds(
        lambda parts, body, version: pair.Request(
            api, method, path % tuple(quoted(part) for part in parts), body,
            version, makes),
        st.tuples(*arguments), body,
        placement_versions if api == PLACEMENT else versions)


def _object(_within=None, /, **fields):
    """Return a strategy of objects with these fields, or all but one."""
    found = st.tuples(
        st.fixed_dictionaries({
            field: st.one_of(*7 * [strategy], values)
            for field, strategy in fields.items()}),
        st.sampled_from([None, None, *fields])).map(lambda made: {
            field: value for field, value in made[0].items()
            if field != made[1]})
    return found if _within is None else found.map(
        lambda made: {_within: made})


def _mostly(strategy):
    return st.one_of(strategy, strategy, strategy, values)


_nothing = st.none()
_small = st.sampled_from([0, 1, 2, "1", 64, 128, -1, 1.0])
_maps = st.dictionaries(texts, texts, max_size=3)
_unique = st.integers(0, 999).map("thing%d".__mod__)
_new_servers = st.fixed_dictionaries({
    "name": st.one_of(texts, st.just("new")),
    "imageRef": st.just(standins.IMAGE_ID), "flavorRef": st.just("${flavor}"),
    "networks": st.just("none"),
    "availability_zone": st.just("nova:compute1"),
}, optional={
    "metadata": _mostly(_maps), "tags": _mostly(st.lists(texts, max_size=3)),
    "key_name": texts, "description": values, "config_drive": values,
    "min_count": _small, "max_count": _small, "accessIPv4": texts,
    "hostname": texts, "user_data": texts, "personality": values,
    "security_groups": values, "trusted_image_certificates": values,
    "host": texts, "hypervisor_hostname": texts, "return_reservation_id":
    values, "OS-DCF:diskConfig": values, "block_device_mapping_v2": values,
})
_generations = st.integers(0, 12)
_inventory = _object(total=_small, reserved=_small, min_unit=_small,
                     max_unit=_small, step_size=_small,
                     allocation_ratio=_small,
                     resource_provider_generation=_generations)
_actions = st.one_of(
    st.sampled_from([
        {"os-stop": None}, {"os-start": None}, {"pause": None},
        {"unpause": None}, {"suspend": None}, {"resume": None},
        {"lock": None}, {"unlock": None}, {"shelve": None},
        {"unshelve": None}, {"resetState": None},
        {"reboot": {"type": "HARD"}}, {"os-resetState": {"state": "error"}},
        {"os-resetState": {"state": "active"}}, {"resetNetwork": None},
        {"rescue": None}, {"unrescue": None}, {"os-getConsoleOutput": {}},
        {"createBackup": {"name": "b", "backup_type": "daily",
                          "rotation": 0}},
        {"migrate": None}, {"confirmResize": None}, {"revertResize": None},
        {"resize": {"flavorRef": "${flavor2}"}}, {"forceDelete": None},
        {"restore": None}, {"evacuate": {}}]),
    st.fixed_dictionaries({"lock": _object(locked_reason=texts)}),
    st.fixed_dictionaries({"os-resetState": _object(state=texts)}),
    st.fixed_dictionaries({"changePassword": _object(adminPass=texts)}),
    st.fixed_dictionaries({"createImage": _object(name=texts,
                                                  metadata=_maps)}),
    st.dictionaries(texts, values, max_size=1))

writes = st.one_of(
    *3 * [send("POST", "/servers", st.fixed_dictionaries(
        {"server": _new_servers}), makes={"new": ["server", "id"]})],
    *2 * [send("PUT", "/servers/%s", _object(
        "server", name=texts, accessIPv4=texts, description=texts,
        hostname=texts), servers)],
    send("POST", "/servers/%s/metadata", _object("metadata", a=texts, é=texts),
         servers),
    send("PUT", "/servers/%s/metadata",
         st.fixed_dictionaries({"metadata": _mostly(_maps)}), servers),
    send("DELETE", "/servers/%s/metadata/%s", _nothing, servers,
         _or_odd("a", "c")),
    *2 * [send("PUT", "/servers/%s/tags", st.fixed_dictionaries(
        {"tags": _mostly(st.lists(texts, max_size=3))}), servers)],
    send("PUT", "/servers/%s/tags/%s", _nothing, servers, texts),
    send("DELETE", "/servers/%s/tags/%s", _nothing, servers,
         _or_odd("a", "é")),
    send("DELETE", "/servers/%s/tags", _nothing, servers),
    *4 * [send("POST", "/servers/%s/action", _actions, servers)],
    send("POST", "/servers/${new}/action", _actions),
    *2 * [send("DELETE", "/servers/${new}", _nothing)],
    *3 * [send("POST", "/flavors", _object(
        "flavor", name=st.one_of(texts, _unique), vcpus=_small, ram=_small,
        disk=_small, id=st.one_of(texts, _unique), swap=_small,
        rxtx_factor=_small, description=texts, **{
            "os-flavor-access:is_public": st.booleans(),
            "OS-FLV-EXT-DATA:ephemeral": _small}))],
    send("PUT", "/flavors/%s", _object("flavor", description=texts),
         flavors),
    send("DELETE", "/flavors/%s", _nothing, _unique),
    *2 * [send("POST", "/flavors/%s/os-extra_specs", st.fixed_dictionaries(
        {"extra_specs": _mostly(_maps)}), st.sampled_from(
            ["${flavor}", "${flavor2}", "thing1"]))],
    send("PUT", "/flavors/%s/os-extra_specs/%s", _maps,
         st.just("${flavor2}"), _or_odd("a")),
    send("DELETE", "/flavors/%s/os-extra_specs/%s", _nothing,
         st.just("${flavor2}"), _or_odd("a", "1")),
    send("POST", "/flavors/%s/action", st.one_of(
        *[_object(name, tenant=texts) for name in (
            "addTenantAccess", "removeTenantAccess")]),
         st.sampled_from(["${private}", "${flavor}", "x"])),
    *2 * [send("POST", "/os-aggregates", _object(
        "aggregate", name=st.one_of(texts, _unique),
        availability_zone=texts), makes={"made": ["aggregate", "id"]})],
    send("PUT", "/os-aggregates/%s", _object(
        "aggregate", name=texts, availability_zone=texts), aggregates),
    send("DELETE", "/os-aggregates/${made}", _nothing),
    *2 * [send("POST", "/os-aggregates/%s/action", st.one_of(
        _object("add_host", host=_or_odd("compute1", "compute2")),
        _object("remove_host", host=_or_odd("compute1", "compute2")),
        st.fixed_dictionaries({"set_metadata": st.fixed_dictionaries(
            {"metadata": st.dictionaries(texts, st.one_of(
                st.none(), texts, values), max_size=3)})})),
        aggregates)],
    *2 * [send("POST", "/os-keypairs", _object(
        "keypair", name=texts, public_key=st.just(_KEY),
        type=st.sampled_from(["ssh", "x509"]), user_id=texts))],
    send("DELETE", "/os-keypairs/%s", _nothing, _or_odd("thing1", "1")),
    *2 * [send("POST", "/os-server-groups", _object(
        "server_group", name=texts, policy=st.sampled_from(
            ["affinity", "anti-affinity", "soft-affinity"]),
        rules=st.sampled_from(
            [{}, {"max_server_per_host": 1}])),
        makes={"made_group": ["server_group", "id"]})],
    send("DELETE", "/os-server-groups/%s", _nothing,
         st.one_of(st.just("${made_group}"), texts)),
    send("PUT", "/os-services/%s", _object(
        status=st.just("enabled"), disabled_reason=texts), services),
    send("PUT", "/os-services/disable-log-reason", _object(
        host=_or_odd("compute1"), binary=_or_odd("nova-compute"),
        disabled_reason=texts)),
    send("DELETE", "/os-services/%s", _nothing, texts),
    *2 * [send("PUT", "/os-quota-sets/%s", _object(
        "quota_set", instances=_small, cores=_small, ram=_small,
        key_pairs=_small, server_groups=_small, metadata_items=_small,
        force=values), st.sampled_from(["p2", "é", "x" * 255, "x" * 300]))],
    send("DELETE", "/os-quota-sets/%s", _nothing,
         st.sampled_from(["p2", "é", "nobody"])),
    send("PUT", "/os-quota-class-sets/%s", _object(
        "quota_class_set", instances=_small, cores=_small, ram=values),
        st.sampled_from(["other", "é", "x" * 300])),
    send("POST", "/os-server-external-events", st.fixed_dictionaries({
        "events": st.lists(_object(
            name=st.sampled_from(["network-changed", "power-update"]),
            server_uuid=servers, status=texts, tag=texts), max_size=2)})),
    *[send(method, path, body, *arguments, api=PLACEMENT)
      for method, path, body, arguments in (
          ("POST", "/resource_providers", _object(
              name=st.one_of(texts, _unique),
              parent_provider_uuid=providers), ()),
          ("PUT", "/resource_providers/%s", _object(
              name=texts, parent_provider_uuid=providers), (providers,)),
          ("PUT", "/resource_providers/%s/inventories/%s", _inventory,
           (st.just("${provider}"), st.sampled_from(
               ["VCPU", "MEMORY_MB", "CUSTOM_A", "x", "DISK_GB"]))),
          ("DELETE", "/resource_providers/%s/inventories/%s", _nothing,
           (st.just("${provider}"), st.sampled_from(
               ["VCPU", "MEMORY_MB", "CUSTOM_A", "x"]))),
          ("PUT", "/resource_providers/%s/traits", _object(
              resource_provider_generation=_generations, traits=st.lists(
                  st.sampled_from(["CUSTOM_T", "HW_CPU_X86_AVX", "x"]))),
           (st.just("${provider}"),)),
          ("PUT", "/resource_providers/%s/aggregates", _object(
              resource_provider_generation=_generations, aggregates=st.lists(
                  texts, max_size=2)), (st.just("${provider}"),)),
          ("PUT", "/resource_classes/%s", _nothing,
           (st.one_of(texts, st.just("CUSTOM_A")),)),
          ("POST", "/resource_classes", _object(name=st.one_of(
              texts, st.just("CUSTOM_B"))), ()),
          ("DELETE", "/resource_classes/%s", _nothing,
           (st.sampled_from(["CUSTOM_A", "CUSTOM_B", "VCPU", "x"]),)),
          ("PUT", "/traits/%s", _nothing,
           (st.one_of(texts, st.just("CUSTOM_T")),)),
          ("DELETE", "/traits/%s", _nothing,
           (st.sampled_from(["CUSTOM_T", "x", "HW_CPU_X86_AVX"]),)),
          ("PUT", "/allocations/%s", _object(
              allocations=st.fixed_dictionaries({"${provider}": _object(
                  resources=st.dictionaries(st.sampled_from(
                      ["VCPU", "MEMORY_MB", "CUSTOM_A"]), _small,
                      max_size=2))}),
              project_id=texts, user_id=texts, consumer_generation=st.one_of(
                  st.none(), st.integers(0, 3)),
              consumer_type=st.sampled_from(["INSTANCE", "OTHER"])),
           (st.sampled_from([_ABSENT, "x"]),)),
          ("DELETE", "/allocations/%s", _nothing,
           (st.sampled_from([_ABSENT, "x"]),)))])


def _server(name, **more):
    return {"server": {
        "name": name, "imageRef": standins.IMAGE_ID,
        "flavorRef": "${flavor}", "networks": "none",
        "availability_zone": "nova:compute1", **more}}


def population():
    """Yield the requests that make what the others are about."""
    for name, ram in (("flavor", 64), ("flavor2", 128), ("private", 64),
                      ("huge", 2 ** 30)):
        yield pair.Request(NOVA, "POST", "/flavors", {"flavor": {
            "name": name, "vcpus": 1, "ram": ram, "disk": 0, "id": "f" + name,
            "os-flavor-access:is_public": name != "private"}},
            makes={name: ["flavor", "id"]})
    yield pair.Request(NOVA, "POST", "/flavors/${flavor2}/os-extra_specs",
                       {"extra_specs": {"hw:numa_nodes": "1", "a": "b"}},
                       version="2.85")
    yield pair.Request(NOVA, "POST", "/os-keypairs", {"keypair": {
        "name": "key", "type": "ssh", "public_key": _KEY}})
    yield pair.Request(NOVA, "POST", "/os-aggregates", {"aggregate": {
        "name": "aggregate"}}, makes={"aggregate": ["aggregate", "id"]})
    yield pair.Request(
        NOVA, "POST", "/os-aggregates/${aggregate}/action",
        {"set_metadata": {"metadata": {"a": "b"}}})
    yield pair.Request(NOVA, "POST", "/os-server-groups", {"server_group": {
        "name": "group", "policy": "soft-affinity"}},
        makes={"group": ["server_group", "id"]})
    for name, more in (
            ("plain", {"metadata": {"a": "b", "c": ""}, "tags": ["a", "é"],
                       "key_name": "key", "description": "d"}),
            ("stopped", {"tags": ["a"], "hostname": "web"}),
            ("other", {"availability_zone": "nova:compute2"}),
            ("failed", {"availability_zone": "nova", "flavorRef": "${huge}"}),
            ("removed", {}), ("resized", {}), ("new", {})):
        yield pair.Request(NOVA, "POST", "/servers", _server(name, **more),
                           makes={name: ["server", "id"]})
    for name, action in (("stopped", {"os-stop": None}),
                         ("resized", {"resize": {"flavorRef": "${flavor2}"}}),
                         ("other", {"lock": {"locked_reason": "r"}})):
        yield pair.Request(NOVA, "POST", "/servers/${%s}/action" % name,
                           action)
    yield pair.Request(NOVA, "DELETE", "/servers/${removed}")
    yield pair.Request(NOVA, "GET", "/os-hypervisors",
                       makes={"node1": ["hypervisors", 0, "id"]})
    yield pair.Request(NOVA, "GET", "/os-services?binary=nova-compute",
                       makes={"service": ["services", 0, "id"]})
    yield pair.Request(PLACEMENT, "POST", "/resource_providers",
                       {"name": "provider"}, "1.39",
                       {"provider": ["uuid"]})
    yield pair.Request(PLACEMENT, "PUT", "/resource_classes/CUSTOM_A",
                       version="1.39")
