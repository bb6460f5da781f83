#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016
#
# The phases of stack.sh, unstack.sh and clean.sh, without a Redis server.

load common

URL=kvs+redis://10.0.0.5

@test "every cell, cell0 and the API database are set up in the store" {
    devstack stack NOVA_KVS_URL=$URL NOVA_NUM_CELLS=2
    succeeds
    is "$(connection nova/nova.conf database)" $URL/nova_cell0
    is "$(connection nova/nova.conf api_database)" $URL/nova_api
    is "$(connection nova/nova_cell1.conf database)" $URL/nova_cell1
    is "$(connection nova/nova_cell2.conf database)" $URL/nova_cell2
    is "$(calls map_cell0)" \
        "nova-manage cell_v2 map_cell0 --database_connection $URL/nova_cell0"
    is "$(calls 'nova-kvs drop' | sort)" \
"nova-kvs drop $URL/nova_api --yes nova_api
nova-kvs drop $URL/nova_cell0 --yes nova_cell0
nova-kvs drop $URL/nova_cell1 --yes nova_cell1
nova-kvs drop $URL/nova_cell2 --yes nova_cell2"
    [[ -z "$(calls 'mysql.*nova')" ]] || fail "Nova has a database in MySQL"
}

@test "the other services and Placement stay in MySQL" {
    devstack stack NOVA_KVS_URL=$URL
    succeeds
    [[ "$(calls mysql)" == *"CREATE DATABASE keystone"* ]] || fail keystone
    [[ "$(calls mysql)" == *"CREATE DATABASE placement"* ]] || fail placement
    [[ "$(connection placement/placement.conf placement_database)" == \
        mysql+pymysql://* ]]
}

@test "Placement moves when asked for" {
    devstack stack NOVA_KVS_URL=$URL NOVA_KVS_PLACEMENT=True
    succeeds
    is "$(connection placement/placement.conf placement_database)" \
        $URL/placement
    is "$(calls '--yes placement')" \
        "nova-kvs drop $URL/placement --yes placement"
    [[ "$(calls mysql)" != *placement* ]] || fail "placement is in MySQL too"
}

@test "a database is removed before it is synchronised" {
    devstack stack NOVA_KVS_URL=$URL NOVA_KVS_PLACEMENT=True
    succeeds
    local first
    first=$(calls 'yes nova_cell1\|nova_cell1.conf db sync' | head -n 1)
    is "$first" "nova-kvs drop $URL/nova_cell1 --yes nova_cell1"
    first=$(calls 'yes placement\|placement-manage' | head -n 1)
    is "$first" "nova-kvs drop $URL/placement --yes placement"
}

@test "a single conductor uses cell1 in nova.conf" {
    devstack stack NOVA_KVS_URL=$URL CELLSV2_SETUP=singleconductor
    succeeds
    is "$(connection nova/nova.conf database)" $URL/nova_cell1
    is "$(calls 'nova-kvs drop' | wc -l)" 3
}

@test "a compute-only node gets nothing" {
    devstack stack ENABLED_SERVICES=n-cpu,placement-client SERVICE_HOST=10.0.0.1
    succeeds
    is "$(connection nova/nova.conf database)" ""
    is "$(calls 'pip\|nova-kvs\|mysql')" ""
    [[ ! -e $WORK/opt/data/nova-kvs ]] || fail "a server was configured"
}

@test "a node with a cell's conductor uses the controller's servers" {
    devstack stack ENABLED_SERVICES=n-cond,n-cpu SERVICE_HOST=10.0.0.1 \
        NOVA_KVS_PORT=7000 DATABASE_TYPE=mysql
    succeeds
    is "$(connection nova/nova_cell1.conf database)" \
        'kvs+cluster://default:secret@10.0.0.1:7000/nova_cell1?node=10.0.0.1:7001&node=10.0.0.1:7002'
    [[ "$(calls 'pip install')" == *"pip install -e"* ]] || fail "not installed"
    [[ ! -e $WORK/opt/data/nova-kvs ]] || fail "a server was configured"
}

@test "the package is installed once, before Nova's databases are made" {
    devstack stack NOVA_KVS_URL=$URL NOVA_KVS_PLACEMENT=True
    succeeds
    is "$(calls 'pip install' | wc -l)" 1
    is "$(calls 'pip install\|nova-kvs drop' | head -n 1)" \
        "$(calls 'pip install')"
}

@test "Nova and Placement with environments of their own both get it" {
    devstack stack NOVA_KVS_URL=$URL USE_VENV=True
    succeeds
    [[ "$(calls 'pip install')" == *"in "*/nova.venv ]] || fail nova
    is "$(calls 'pip install' | wc -l)" 1
    devstack stack NOVA_KVS_URL=$URL USE_VENV=True NOVA_KVS_PLACEMENT=True
    succeeds
    [[ "$(calls 'pip install')" == *"in "*/placement.venv ]] || fail placement
}

@test "a drop that fails stops the run" {
    # shellcheck disable=SC2016
    stub nova-kvs 'echo "nova-kvs: error: it is down" >&2; exit 1'
    devstack stack NOVA_KVS_URL=$URL
    fails_with "it is down"
    is "$(calls create_cell)" ""
}

@test "URLs that are not ours in nova.conf stop the run" {
    devstack 'source_phase
        load_lib_database
        configure
        plugin stack install' NOVA_KVS_URL=$URL
    fails_with "nova.conf is not a URL of nova-kvs"
}

@test "phases that the plugin does not know do nothing" {
    devstack 'set -o nounset
        plugin stack extra
        plugin stack later-phase
        plugin other
        echo reached'
    succeeds
    is "${lines[-1]}" reached
}

@test "unstack leaves a store elsewhere and other services alone" {
    devstack 'unstack --all' NOVA_KVS_URL=$URL
    succeeds
    is "$(calls 'nova-kvs')" ""
}

@test "clean uninstalls the package" {
    devstack 'clean' NOVA_KVS_URL=$URL
    succeeds
    is "$(calls 'pip uninstall')" "pip uninstall nova-kvs in "
}
