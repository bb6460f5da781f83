# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2329
#
# Small stand-ins for the functions of DevStack that the plugin meets. They
# behave like the real ones where the plugin can tell; DEVSTACK_SRC=DIR runs
# the same tests on the real ones.

declare -g -A PROJECT_VENV GITDIR


# functions-common and inc/*
# --------------------------

function trueorfalse {
    local value=${!2:-$1}
    case ${value,,} in
        1|yes|true) echo True ;;
        *) echo False ;;
    esac
}

function die {
    shift
    echo "[ERROR] $*" >&2
    exit 1
}

function define_plugin {
    :
}

function ipv6_unquote {
    echo "$1" | tr -d '[]'
}

function is_service_enabled {
    local service
    for service in "$@"; do
        [[ ",$ENABLED_SERVICES," == *",$service,"* ]] && return 0
        [[ $service == nova && ",$ENABLED_SERVICES" == *,n-* ]] && return 0
        [[ $service == placement &&
            ",$ENABLED_SERVICES" == *,placement-api* ]] && return 0
    done
    return 1
}

function enable_service {
    is_service_enabled "$1" || ENABLED_SERVICES+=",$1"
}

# The value goes through an unquoted echo, as in DevStack.
function iniset {
    local file=$1 section=$2 option=$3 value
    # shellcheck disable=SC2086,SC2116
    value=$(echo $4)
    [[ -n $section && -n $option ]] || return 0
    grep -q "^\[$section\]" "$file" 2>/dev/null || echo "[$section]" >>"$file"
    awk -v section="[$section]" -v line="$option = ${value//\\/\\\\}" \
        '{ print } $0 == section { print line }' "$file" >"$file.new"
    mv "$file.new" "$file"
}

function iniget {
    local line
    line=$(sed -n "/^\[$2\]/,/^\[.*\]/ { /^$3[ \t]*=/ p; }" "$1")
    # shellcheck disable=SC2086
    echo ${line#*=}
}

function ini_has_option {
    [[ -n $(iniget "$@") ]]
}

function async_run {
    local name=$1
    shift
    # shellcheck disable=SC2048
    (set -o errexit; $*) >"$DEST/async-$name.log" 2>&1 &
    echo $! >"$DEST/async-$name.pid"
}

function async_runfunc {
    # shellcheck disable=SC2048,SC2086
    async_run $1 $*
}

function async_wait {
    local name status=0
    for name in "$@"; do
        [[ -e $DEST/async-$name.pid ]] || continue
        wait "$(<"$DEST/async-$name.pid")" || status=$?
        cat "$DEST/async-$name.log"
        rm "$DEST/async-$name.pid"
    done
    return $status
}

function run_process {
    local unit=$SYSTEMD_DIR/devstack@$1.service
    is_service_enabled "$1" || return 0
    printf '[Service]\nExecStart = %s\n' "$2" >"$unit"
    $SYSTEMCTL enable "devstack@$1.service"
    $SYSTEMCTL start "devstack@$1.service"
}

function stop_process {
    is_service_enabled "$1" || return 0
    if $SYSTEMCTL is-enabled "devstack@$1.service"; then
        $SYSTEMCTL stop "devstack@$1.service"
        $SYSTEMCTL disable "devstack@$1.service"
    fi
}

function setup_develop {
    pip_install -e "$1"
}


# lib/database
# ------------

function load_lib_database {
    DATABASE_BACKENDS=" mysql postgresql"
    if is_service_enabled mysql; then
        DATABASE_TYPE=mysql
    fi

    function recreate_database {
        "recreate_database_$DATABASE_TYPE" "$1"
    }

    function database_connection_url {
        "database_connection_url_$DATABASE_TYPE" "$1"
    }
}

function recreate_database_mysql {
    mysql -e "DROP DATABASE IF EXISTS $1;"
    mysql -e "CREATE DATABASE $1 CHARACTER SET utf8;"
}

function database_connection_url_mysql {
    echo "$BASE_SQL_CONN/$1?charset=utf8"
}

function initialize_database_backends {
    [[ -n "${DATABASE_TYPE:-}" ]]
}

function define_database_baseurl {
    BASE_SQL_CONN=mysql+pymysql://root:$DATABASE_PASSWORD@127.0.0.1
}


# lib/nova
# --------

function load_lib_nova {
    NOVA_API_DB=${NOVA_API_DB:-nova_api}
    if [[ $USE_VENV == True ]]; then
        PROJECT_VENV["nova"]=$DEST/nova.venv
    fi
}

function conductor_conf {
    echo "$NOVA_CONF_DIR/nova_cell$1.conf"
}

function create_nova_conf {
    local i db=nova_cell0
    rm -f "$NOVA_CONF"
    iniset "$NOVA_CONF" DEFAULT debug True
    if is_service_enabled n-api n-cond n-sched n-spice n-novnc n-sproxy; then
        [[ $CELLSV2_SETUP == singleconductor ]] && db=nova_cell1
        iniset "$NOVA_CONF" database connection "$(database_connection_url $db)"
        iniset "$NOVA_CONF" api_database connection \
            "$(database_connection_url nova_api)"
    fi
    is_service_enabled n-cond || return 0
    for ((i = 1; i <= NOVA_NUM_CELLS; i++)); do
        rm -f "$(conductor_conf $i)"
        iniset "$(conductor_conf $i)" database connection \
            "$(database_connection_url nova_cell$i)"
    done
}

function init_nova_db {
    recreate_database "$1"
    "$NOVA_BIN_DIR/nova-manage" --config-file "$2" db sync --local_cell
}

# shellcheck disable=SC2046
function init_nova {
    local i
    # shellcheck disable=SC2086
    is_service_enabled $DATABASE_BACKENDS && is_service_enabled n-api ||
        return 0
    if [[ $CELLSV2_SETUP == singleconductor ]]; then
        recreate_database nova_cell0
    else
        async_run nova-cell-0 init_nova_db nova_cell0 "$NOVA_CONF"
    fi
    for ((i = 1; i <= NOVA_NUM_CELLS; i++)); do
        async_run nova-cell-$i init_nova_db nova_cell$i "$(conductor_conf $i)"
    done
    recreate_database "$NOVA_API_DB"
    "$NOVA_BIN_DIR/nova-manage" --config-file "$NOVA_CONF" api_db sync
    "$NOVA_BIN_DIR/nova-manage" cell_v2 map_cell0 --database_connection \
        $(database_connection_url nova_cell0)
    for ((i = 0; i <= NOVA_NUM_CELLS; i++)); do
        async_wait nova-cell-$i
    done
    for ((i = 1; i <= NOVA_NUM_CELLS; i++)); do
        "$NOVA_BIN_DIR/nova-manage" --config-file "$NOVA_CONF" \
            --config-file "$(conductor_conf $i)" cell_v2 create_cell \
            --name "cell$i"
    done
}

function stop_nova {
    stop_process n-api
    stop_process n-cond
}


# lib/placement
# -------------

function load_lib_placement {
    if [[ $USE_VENV == True ]]; then
        PROJECT_VENV["placement"]=$DEST/placement.venv
    fi
}

function create_placement_conf {
    rm -f "$PLACEMENT_CONF"
    iniset "$PLACEMENT_CONF" placement_database connection \
        "$(database_connection_url placement)"
}

function init_placement {
    recreate_database placement
    "$PLACEMENT_BIN_DIR/placement-manage" db sync
}

function stop_placement {
    stop_process placement-api
}
