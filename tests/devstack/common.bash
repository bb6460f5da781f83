# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# Set-up of the bats files: a work directory with stubs, and how to run a
# piece of DevStack in it.

HERE=$BATS_TEST_DIRNAME

function setup {
    WORK=$BATS_TEST_TMPDIR
    export WORK
    mkdir -p "$WORK/bin"
    : >"$WORK/calls"
    local name
    for name in mysql nova-manage placement-manage nova-kvs; do
        # shellcheck disable=SC2016
        stub $name 'echo "${0##*/} $*" >>"$WORK/calls"'
    done
    # shellcheck disable=SC2016
    stub sudo 'exec "$@"'
    cp "$HERE/systemctl" "$WORK/bin/systemctl"
    # Neither these ports nor those 10000 above (the cluster's own) are in
    # the range from which the kernel takes ports for clients.
    NOVA_KVS_PORT=$((12000 + RANDOM % 10000))
    export NOVA_KVS_PORT
}

function teardown {
    local file
    for file in "$WORK"/systemd/*.pid; do
        [[ -e $file ]] && kill "$(<"$file")" 2>/dev/null
    done
    return 0
}

# stub name command
function stub {
    printf '#!/bin/bash\n%s\n' "$2" >"$WORK/bin/$1"
    chmod +x "$WORK/bin/$1"
}

# Run a piece of shell with DevStack's functions: devstack 'code' [VAR=value...]
# The code comes first; the variables are what local.conf would set.
function devstack {
    local code=$1
    shift
    # No descriptor of bats may stay open in a server: bats would wait for it.
    run timeout 120 env PATH="$WORK/bin:$PATH" "$@" \
        bash -c "source '$HERE/devstack.bash'; $code" 3>&-
    echo "$output"
}

# Fail with a message.
function fail {
    echo "$*" >&2
    return 1
}

# Check the end of a run: succeeds | fails_with text
function succeeds {
    ((status == 0)) && return 0
    tail -n 5 "$WORK"/systemd/*.log >&2
    fail "status $status"
}

function fails_with {
    ((status != 0)) || fail "status 0"
    [[ "$output" == *"$1"* ]] || fail "no '$1' in the output"
}

# Print the option of a file: option file section
function connection {
    sed -n "/^\[$2\]/,/^\[/ s/^connection *= *//p" "$WORK/etc/$1"
}

function calls {
    grep -- "$1" "$WORK/calls" || true
}

function is {
    [[ "$1" == "$2" ]] || fail "$1 is not $2"
}
