#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016,SC2030,SC2031
#
# Which database goes where, and the settings that cannot work.

load common

@test "the databases of Nova are in the store and all others are not" {
    devstack 'source_phase
        for db in nova_api nova_cell0 nova_cell1 nova_cell12 keystone glance \
                neutron cinder placement nova_cellar nova; do
            echo $db $(database_connection_url $db)
        done' NOVA_KVS_URL=kvs+redis://10.0.0.5
    succeeds
    local db
    for db in nova_api nova_cell0 nova_cell1 nova_cell12; do
        [[ "$output" == *"$db kvs+redis://10.0.0.5/$db"* ]] || fail $db
    done
    for db in keystone glance neutron cinder placement nova_cellar nova; do
        [[ "$output" == *"$db mysql+pymysql://root:secret@127.0.0.1/$db?charset=utf8"* ]] ||
            fail $db
    done
}

@test "another name of the API database is ours too" {
    devstack 'source_phase; database_connection_url api_two' \
        NOVA_API_DB=api_two NOVA_KVS_URL=kvs+redis://10.0.0.5
    succeeds
    is "${lines[-1]}" kvs+redis://10.0.0.5/api_two
}

@test "Placement is in the store when asked for" {
    devstack 'source_phase; database_connection_url placement' \
        NOVA_KVS_PLACEMENT=True NOVA_KVS_URL=kvs+redis://10.0.0.5
    succeeds
    is "${lines[-1]}" kvs+redis://10.0.0.5/placement
}

@test "other services are in the store when asked for" {
    local db
    devstack 'source_phase
        for db in nova_cell1 placement keystone glance cinder neutron; do
            echo $db $(database_connection_url $db)
        done' NOVA_KVS_SERVICES=nova,placement,glance,neutron \
        NOVA_KVS_URL=kvs+redis://10.0.0.5
    succeeds
    for db in nova_cell1 placement; do
        [[ "$output" == *"$db kvs+redis://10.0.0.5/$db"$'\n'* ]] || fail $db
    done
    for db in keystone cinder; do
        [[ "$output" == *"$db mysql+pymysql://"* ]] || fail $db
    done
    for db in glance neutron; do
        [[ "$output" == *"$db kvs+redis://10.0.0.5/$db?foreign_keys=true"* ]] ||
            fail $db
    done
    devstack 'source_phase; database_connection_url keystone' \
        NOVA_KVS_SERVICES=keystone NOVA_KVS_PORT=7000 NOVA_KVS_PASSWORD=pw
    succeeds
    is "${lines[-1]}" 'kvs+cluster://default:pw@127.0.0.1:7000/keystone?node=127.0.0.1:7001&node=127.0.0.1:7002&foreign_keys=true'
}

@test "a service that cannot be in the store stops the plugin" {
    devstack 'source_phase; check_nova_kvs_settings' \
        NOVA_KVS_SERVICES=nova,heat
    [[ "$status" -ne 0 && "$output" == *"heat must be one of nova"* ]] ||
        fail heat
}

@test "a store elsewhere gets the database's name before the query" {
    devstack 'source_phase; database_connection_url nova_cell1' \
        'NOVA_KVS_URL=kvs+cluster://nova:pw@10.0.0.5:7000/?node=10.0.0.6:7000&node=10.0.0.7:7000'
    succeeds
    is "${lines[-1]}" 'kvs+cluster://nova:pw@10.0.0.5:7000/nova_cell1?node=10.0.0.6:7000&node=10.0.0.7:7000'
}

@test "the cluster of this node is named by all its nodes" {
    devstack 'source_phase; database_connection_url nova_cell1' \
        NOVA_KVS_PORT=7000 NOVA_KVS_PASSWORD=pw
    succeeds
    is "${lines[-1]}" 'kvs+cluster://default:pw@127.0.0.1:7000/nova_cell1?node=127.0.0.1:7001&node=127.0.0.1:7002'
}

@test "a single server has a plain URL and the database password" {
    devstack 'source_phase; database_connection_url nova_cell1' \
        NOVA_KVS_PORT=7000 NOVA_KVS_NODES=1
    succeeds
    is "${lines[-1]}" kvs+redis://default:secret@127.0.0.1:7000/nova_cell1
}

@test "with etcd it is the one of DevStack" {
    devstack 'source_phase; database_connection_url nova_cell1
        check_nova_kvs_settings; is_service_enabled etcd3 && echo enabled' \
        NOVA_KVS_STORE=etcd
    succeeds
    is "${lines[-2]}" kvs+etcd://127.0.0.1:2379/nova_cell1
    is "${lines[-1]}" enabled
    devstack 'source_phase; check_nova_kvs_settings' NOVA_KVS_STORE=mongo
    [[ "$status" -ne 0 && "$output" == *"must be redis or etcd"* ]]
}

@test "nova-kvs itself accepts the URLs" {
    local url
    devstack 'source_phase
        database_connection_url nova_cell1
        NOVA_KVS_NODES=1
        database_connection_url nova_cell1
        NOVA_KVS_HOST=[::1]
        database_connection_url nova_cell1' NOVA_KVS_PORT=7000
    succeeds
    for url in "${lines[@]: -3}"; do
        python -c 'import sys
from nova_kvs.store import url
print(url.parse_url(sys.argv[1]).nodes)' "$url"
    done
}

@test "settings may be sourced twice" {
    devstack 'source_phase; load_settings; load_settings
        database_connection_url nova_cell1
        database_connection_url keystone' \
        NOVA_KVS_URL=kvs+redis://10.0.0.5
    succeeds
    is "${lines[-2]}" kvs+redis://10.0.0.5/nova_cell1
    is "${lines[-1]}" 'mysql+pymysql://root:secret@127.0.0.1/keystone?charset=utf8'
}

@test "settings wrap again after lib/database was sourced again" {
    devstack 'source_phase; load_lib_database; load_settings
        database_connection_url nova_cell1' \
        NOVA_KVS_URL=kvs+redis://10.0.0.5
    succeeds
    is "${lines[-1]}" kvs+redis://10.0.0.5/nova_cell1
}

@test "a wrapper of another plugin around ours is left alone" {
    devstack 'source_phase
        eval "function theirs $(declare -f database_connection_url | tail -n +2)"
        function database_connection_url { echo "$(theirs $1)&theirs"; }
        load_settings
        database_connection_url nova_cell1' \
        NOVA_KVS_URL=kvs+redis://10.0.0.5/?a=b
    succeeds
    is "${lines[-1]}" 'kvs+redis://10.0.0.5/nova_cell1?a=b&theirs'
}

# Check each of some values of a setting: refused SETTING text value...
function refused {
    local setting=$1 text=$2
    shift 2
    devstack "source_phase
        function sleep { :; }
        for value in $(printf '%q ' "$@"); do
            if (set +o errexit; $setting=\$value
                check_nova_kvs_settings) >$WORK/refusal 2>&1; then
                echo \"\$value is accepted\"
            else
                grep -o \"$text\" $WORK/refusal
            fi
        done"
    succeeds
    is "${#lines[@]}" $#
    local line
    for line in "${lines[@]}"; do
        [[ $line == *"$text"* ]] || fail "$line"
    done
}

@test "a URL that could not work is refused" {
    refused NOVA_KVS_URL "NOVA_KVS_URL is not usable" \
        10.0.0.5:7000 redis://10.0.0.5 kvs+memory:// kvs+redis:// \
        kvs+redis://10.0.0.5/nova_api 'kvs+redis://10.0. 0.5' \
        'kvs+redis://{host}' 'kvs+redis://a:p$w@10.0.0.5' \
        'kvs+redis://a:p#w@10.0.0.5' 'kvs+redis://10.0.0.5:x'
}

@test "a number of nodes that is not a cluster is refused" {
    refused NOVA_KVS_NODES "must be 1 or at least 3" 0 2 02 -1 three
}

@test "ports that leave no room for the cluster's own are refused" {
    refused NOVA_KVS_PORT "must leave room" 0 x 55534 70000
}

@test "a refused setting stops the run before anything is written" {
    devstack stack NOVA_KVS_URL=kvs+memory://
    fails_with "NOVA_KVS_URL is not usable"
    [[ ! -e $WORK/etc/nova/nova.conf ]] || fail "nova.conf was written"
}

@test "a password that would break a URL is refused and not shown" {
    devstack stack 'NOVA_KVS_PASSWORD=se@cr/et'
    fails_with "NOVA_KVS_PASSWORD (or DATABASE_PASSWORD): must be set"
    [[ "$output" != *se@cr/et* ]] || fail "the password is in the output"
    devstack stack DATABASE_PASSWORD=
    fails_with "NOVA_KVS_PASSWORD (or DATABASE_PASSWORD): must be set"
}
