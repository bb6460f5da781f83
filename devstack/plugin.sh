#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Dispatch of DevStack's phases to the functions of lib/kvs.

case "${1:-} ${2:-}" in
    "stack pre-install")
        check_nova_kvs_settings
        ;;
    "stack install")
        # Nova's databases are made between this phase and the next one: the
        # driver and the store have to be there now.
        install_nova_kvs
        start_nova_kvs
        check_nova_kvs_urls
        ;;
    "unstack "*)
        stop_nova_kvs
        ;;
    "clean "*)
        cleanup_nova_kvs
        ;;
esac
