#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016
#
# The Redis servers that the plugin runs: real ones, on loopback.

load common

# redis number argument...: redis-cli on one of the servers.
function redis {
    local port=$((NOVA_KVS_PORT + $1 - 1))
    shift
    REDISCLI_AUTH=secret redis-cli -p $port "$@"
}

# Use the real nova-kvs instead of the stub.
function real_nova_kvs {
    local program
    program=$(PATH=${PATH//"$WORK/bin:"/} type -P nova-kvs)
    stub nova-kvs "exec '$program' \"\$@\""
}

@test "stack starts a cluster of three masters that keeps what it is told" {
    devstack stack
    succeeds
    [[ "$(redis 1 cluster info)" == *cluster_state:ok*cluster_slots_assigned:16384* ]]
    is "$(redis 1 cluster nodes | grep -c master)" 3
    is "$(redis 3 config get maxmemory-policy | tail -n 1)" noeviction
    is "$(redis 3 config get appendonly | tail -n 1)" yes
    is "$(redis 3 config get cluster-node-timeout | tail -n 1)" 3000
    is "$(stat -c %a "$WORK/opt/data/nova-kvs/1/redis.conf")" 600
    [[ "$(redis-cli -p "$NOVA_KVS_PORT" get a)" == NOAUTH* ]] || fail "no password needed"
    local url
    url=$(connection nova/nova.conf database)
    is "$url" "kvs+cluster://default:secret@127.0.0.1:$NOVA_KVS_PORT/nova_cell0?node=127.0.0.1:$((NOVA_KVS_PORT + 1))&node=127.0.0.1:$((NOVA_KVS_PORT + 2))"
}

@test "one node is a single server" {
    devstack stack NOVA_KVS_NODES=1
    succeeds
    [[ "$(redis 1 info cluster)" == *cluster_enabled:0* ]]
    is "$(connection nova/nova.conf api_database)" \
        "kvs+redis://default:secret@127.0.0.1:$NOVA_KVS_PORT/nova_api"
}

@test "stacking again keeps what others have stored" {
    devstack stack
    succeeds
    redis 1 -c set "kvs:{other:m:schema}" x
    devstack stack
    succeeds
    is "$(redis 1 -c get "kvs:{other:m:schema}")" x
    is "$(redis 1 cluster nodes | grep -c master)" 3
}

@test "another number of nodes than before is refused" {
    devstack stack
    succeeds
    devstack 'function sleep { :; }; stack' NOVA_KVS_NODES=4
    fails_with "run ./unstack.sh -a"
}

@test "recreating nova_cell1 leaves nova_cell10 and everything else alone" {
    real_nova_kvs
    devstack stack
    succeeds
    local db i
    for db in nova_cell1 nova_cell10 nova_cell nova_api other; do
        for i in 1 2 3 4 5 6 7 8 9; do
            redis 1 -c hset "kvs:{$db:s:$i}" f x
            redis 1 -c zadd "kvs:{$db:s:$i}x" 0 x
        done
    done >/dev/null
    devstack 'source_phase; recreate_database nova_cell1'
    succeeds
    for db in nova_cell10 nova_cell nova_api other; do
        is "$(for i in 1 2 3; do redis $i --scan --pattern "kvs:{$db:*"; done | wc -l)" 18
    done
    is "$(for i in 1 2 3; do redis $i --scan --pattern 'kvs:{nova_cell1:*'; done)" ""
    for i in 1 2 3; do
        [[ "$(redis $i info commandstats)" != *flush* ]] || fail "it flushed"
    done
}

@test "databases are recreated in parallel" {
    real_nova_kvs
    devstack 'stack
        for i in 1 2 3 4 5 6; do
            async_run cell-$i recreate_database nova_cell$i
        done
        async_wait cell-1 cell-2 cell-3 cell-4 cell-5 cell-6' NOVA_NUM_CELLS=2
    succeeds
}

@test "recreating without a server says so and fails" {
    real_nova_kvs
    devstack 'source_phase
        recreate_database nova_cell1' NOVA_KVS_NODES=1
    fails_with "nova-kvs: error:"
    [[ "$output" != *secret* ]] || fail "the password is in the output"
}

@test "unstack leaves the servers running and unstack -a stops them last" {
    devstack stack NOVA_KVS_NODES=1 NOVA_KVS_PLACEMENT=True
    succeeds
    : >"$WORK/systemd/devstack@n-api.service.enabled"
    : >"$WORK/systemd/devstack@placement-api.service.enabled"
    devstack unstack NOVA_KVS_NODES=1 NOVA_KVS_PLACEMENT=True
    succeeds
    is "$(redis 1 ping)" PONG
    : >"$WORK/systemd/devstack@n-api.service.enabled"
    : >"$WORK/calls"
    devstack 'unstack --all' NOVA_KVS_NODES=1 NOVA_KVS_PLACEMENT=True
    succeeds
    is "$(calls stop)" \
"stop devstack@n-api.service
stop devstack@placement-api.service
stop devstack@nova-kvs-1.service"
    run redis 1 ping
    [[ $status != 0 && ! -e $WORK/systemd/devstack@nova-kvs-1.service.enabled ]]
}

@test "clean removes the data" {
    devstack stack NOVA_KVS_NODES=1
    succeeds
    devstack 'unstack --all' NOVA_KVS_NODES=1
    succeeds
    [[ -d $WORK/opt/data/nova-kvs ]] || fail "unstack removed the data"
    devstack clean NOVA_KVS_NODES=1
    succeeds
    [[ ! -e $WORK/opt/data/nova-kvs ]] || fail "the data is still there"
}
