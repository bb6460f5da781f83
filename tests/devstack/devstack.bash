# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2329,SC1090,SC1091
#
# A DevStack with nothing but its database functions, lib/nova, lib/placement
# and this plugin, in the order of stack.sh. Everything outside of it (sudo,
# systemctl, mysql, nova-manage, pip) is a stub that writes to $WORK/calls.

set -o errexit

# A wrapper that calls itself fails at once.
FUNCNEST=100

PLUGIN=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
STANDINS=$PLUGIN/tests/devstack/standins.bash


# What stackrc and local.conf set
# -------------------------------

DEST=$WORK/opt
DATA_DIR=$DEST/data
STACK_USER=$(id -un)
SYSTEMCTL=systemctl
HOST_IP=127.0.0.1
HOST_IPV6=::1
SERVICE_IP_VERSION=4
SERVICE_HOST=${SERVICE_HOST:-127.0.0.1}
SERVICE_LOCAL_HOST=127.0.0.1
SERVICE_LISTEN_ADDRESS=127.0.0.1
SERVICE_PROTOCOL=http
DATABASE_PASSWORD=${DATABASE_PASSWORD-secret}
ENABLED_SERVICES=${ENABLED_SERVICES:-key,n-api,n-cond,n-sch,n-cpu,placement-api,mysql,rabbit}
DISABLED_SERVICES=
CELLSV2_SETUP=${CELLSV2_SETUP:-superconductor}
NOVA_NUM_CELLS=${NOVA_NUM_CELLS:-1}
USE_VENV=${USE_VENV:-False}
GLOBAL_VENV=False
VIRT_DRIVER=fake
NUMBER_FAKE_NOVA_COMPUTE=1
export SYSTEMD_DIR=$WORK/systemd


# DevStack
# --------

function load_functions {
    if [[ -n "${DEVSTACK_SRC:-}" ]]; then
        TOP_DIR=$DEVSTACK_SRC
        FILES=$TOP_DIR/files
        source "$TOP_DIR/functions"
        GetDistro
        KILL_PATH=$(type -P kill)
        function load_lib_database { source "$TOP_DIR/lib/database"; }
        function load_lib_nova { source "$TOP_DIR/lib/nova"; }
        function load_lib_placement { source "$TOP_DIR/lib/placement"; }
    else
        source "$STANDINS"
    fi
    mkdir -p "$DEST/async" "$DATA_DIR" "$SYSTEMD_DIR"
}

# A run that stopped leaves async tasks that wait for a word from it.
function wake_async_tasks {
    local fifo
    for fifo in "$DEST"/async/*.fifo; do
        [[ -p $fifo ]] && timeout 1 bash -c "echo >'$fifo'"
    done
    return 0
}
trap wake_async_tasks EXIT

# What would change the machine, or needs a service of its own.
function stub_functions {
    NOVA_CONF_DIR=$WORK/etc/nova
    NOVA_CONF=$NOVA_CONF_DIR/nova.conf
    PLACEMENT_CONF_DIR=$WORK/etc/placement
    PLACEMENT_CONF=$PLACEMENT_CONF_DIR/placement.conf
    NOVA_BIN_DIR=$WORK/bin
    PLACEMENT_BIN_DIR=$WORK/bin
    NOVA_STATE_PATH=$DATA_DIR/nova
    NOVA_UWSGI_CONF=$NOVA_CONF_DIR/uwsgi.ini
    mkdir -p "$NOVA_CONF_DIR" "$PLACEMENT_CONF_DIR"

    function echo_summary { echo "$@"; }
    function pip_install { record "pip install $* in ${PIP_VIRTUAL_ENV:-}"; }
    function pip_uninstall { record "pip uninstall $* in ${PIP_VIRTUAL_ENV:-}"; }
    local name
    for name in setup_logging write_uwsgi_config get_notification_url \
            iniset_rpc_backend rpc_backend_add_vhost configure_keystoneauth \
            configure_keystone_authtoken_middleware configure_console_proxies \
            create_placement_accounts; do
        eval "function $name { :; }"
    done
}

function record {
    echo "$@" >>"$WORK/calls"
}

function plugin {
    set -- "$@"
    source "$PLUGIN/devstack/plugin.sh" "$@"
}

function load_settings {
    source "$PLUGIN/devstack/settings"
}

# stack.sh up to the settings of plugins.
function source_phase {
    load_functions
    load_lib_database
    load_lib_nova
    load_lib_placement
    stub_functions
    load_settings
    if initialize_database_backends; then
        define_database_baseurl
    fi
}

function configure {
    create_nova_conf
    if is_service_enabled placement; then
        create_placement_conf
    fi
}

function stack {
    source_phase
    plugin stack pre-install
    configure
    plugin stack install
    # shellcheck disable=SC2086
    if is_service_enabled $DATABASE_BACKENDS; then
        recreate_database keystone
    fi
    if is_service_enabled placement; then
        async_runfunc init_placement
    fi
    async_wait init_placement
    if is_service_enabled nova; then
        init_nova
    fi
    plugin stack post-config
    plugin stack extra
    plugin stack test-config
}

# unstack.sh, with --all for what is running.
function unstack {
    UNSTACK_ALL=${1:+-1}
    source_phase
    plugin unstack
    if is_service_enabled nova; then
        stop_nova
    fi
}

# clean.sh after it has run unstack.sh --all.
function clean {
    source_phase
    plugin clean
}
