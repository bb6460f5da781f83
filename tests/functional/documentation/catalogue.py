# SPDX-License-Identifier: Apache-2.0
"""How each literal block of the documentation is tested.

A block is found by what it starts with. Those of one page with the same check
are given to it together, in the order of the page. A block that is not here
fails the tests, and so does an entry without a block.
"""

#: Page -> start of a block -> name of the check: see CHECKS in
#: test_documentation, whose docstrings say what each of them does.
BLOCKS = {
    "README.rst": {
        "pipx run tox -e": "tox",
        "[database]": "configuration",
        "Nova, Placement\n    hot calls": "explanation",
    },
    "devstack/README.rst": {
        "[[local|localrc]]": "localrc",
        "DEVSTACK_SRC=": "tox",
    },
    "doc/source/admin/backup.rst": {
        "nova-kvs backup": "cloud",
        "redis-cli": "backup",
    },
    "doc/source/admin/etcd.rst": {
        "[database]": "configuration",
    },
    "doc/source/admin/migration.rst": {
        "export STORE=": "moving_all",
        "nova-manage --config-file nova-kvs.conf": "moving",
        "nova-kvs import": "moving",
        "nova-manage cell_v2 update_cell": "moving",
        "nova-kvs export": "moving",
    },
    "doc/source/admin/monitoring.rst": {
        "nova-kvs check": "cloud",
        "[nova_kvs]": "configuration",
        "node_exporter": "elsewhere",
        "sum(rate(": "metrics",
        "histogram_quantile(": "histograms",
    },
    "doc/source/admin/redis.rst": {
        "redis-cli --cluster create": "cluster",
        "ACL SETUSER": "cluster",
    },
    "doc/source/admin/runbooks.rst": {
        "ACL SETUSER nova": "password",
        "nova-manage --config-file cell0.conf": "password",
        "nova-kvs-status upgrade check": "password",
        "redis-cli -h": "servers",
        "redis-cli --cluster call": "servers",
        "aof_last_write_status": "full_disk",
    },
    "doc/source/admin/security.rst": {
        "ACL SETUSER placement": "own_user",
        "[placement_database]": "configuration",
        "port 0": "tls",
        "[nova_kvs]": "tls",
        "nova-kvs-status upgrade check": "explanation",
    },
    "doc/source/admin/sites.rst": {
        "[api_database]": "configuration",
        "[nova_kvs]": "configuration",
        "[placement_database]": "configuration",
    },
    "doc/source/admin/sizing.rst": {
        "$ nova-kvs plan": "session",
        "python -m benchmarks.copies": "programs",
    },
    "doc/source/admin/upgrade.rst": {
        "nova-kvs-status upgrade check": "cloud",
    },
    "doc/source/cli/index.rst": {
        "nova-kvs COMMAND": "explanation",
        "source": "completion",
        "$ nova-kvs check": "session",
    },
    "doc/source/cli/nova-kvs-status.rst": {
        "nova-kvs-status [": "explanation",
        "nova-kvs-status --config-file": "cloud",
    },
    "doc/source/admin/services.rst": {
        "nova-kvs demo": "programs",
        "# parcels_kvs.py": "explanation",
        "keystone-manage --config-file": "explanation",
        "[database]": "configuration",
    },
    "doc/source/configuration/index.rst": {
        "kvs+cluster://[": "url_forms",
        "[database]": "configuration",
    },
    "doc/source/contributor/benchmarks.rst": {
        "tox -e bench": "tox",
        "tox -e scale": "tox",
        "python -m benchmarks.boot": "programs",
    },
    "doc/source/contributor/conformance.rst": {
        "tox -e nova-db": "tox",
        "nova.tests.": "excluded_tests",
        "cinder.tests.": "excluded_tests",
    },
    "doc/source/contributor/design.rst": {
        "store <- txn": "explanation",
        "kvs:{<db>": "explanation",
        "r<table>": "explanation",
        "store.batch(": "signatures",
        "Mutation(": "signatures",
        "ByPartition(": "signatures",
    },
    "doc/source/contributor/native.rst": {
        "python -m nova_kvs.db.fingerprint": "programs",
    },
    "doc/source/contributor/experiments.rst": {
        "tox -e experiment": "tox",
    },
    "doc/source/contributor/experiments.inc": {
        "python -m experiments run": "programs",
    },
    "doc/source/contributor/releasing.rst": {
        "tox -e": "tox",
        # It would make a release.
        "git tag": "explanation",
    },
    "doc/source/contributor/testing.rst": {
        "apt-get install": "packages",
        "tox -e py3": "tox",
    },
    "doc/source/install/index.rst": {
        "pipx run tox -e": "tox",
        "pip install": "pip",
        "[database]": "installation",
        "[placement_database]": "installation",
        "nova-manage api_db sync": "installation",
    },
}

#: Start of a literal in running text -> name of the check, the first that
#: fits. Literals that start with no program's name are no commands.
INLINE = {
    "bash .ci/run": "syntax",
    # An error message.
    "nova-kvs failed": "explanation",
    "nova-kvs ": "nova_kvs",
    "nova-kvs-status ": "cloud",
    # With nothing to purge it ends with 3; test_full_servers runs it.
    "nova-manage db purge": "elsewhere",
    "nova-manage": "cloud",
    "pip install nova-kvs[": "extras",
    "pipx": "tox",
    "placement-manage": "cloud",
    "pre-commit": "elsewhere",
    # The unit tests of both compare what they print.
    "python -m nova_kvs.db.dispatch": "elsewhere",
    "python -m nova_kvs.db.placement.dispatch": "elsewhere",
    "python -m": "programs",
    "redis-cli": "redis",
    "reno": "elsewhere",
    "tox -": "tox",
    # The cluster here has no ACL file.
    "ACL SAVE": "elsewhere",
    "ACL ": "redis",
    "CONFIG ": "redis",
    "INFO ": "redis",
}

#: Programs whose names start a command.
PROGRAMS = {
    "apt-get", "bash", "mysql", "mysqldump", "node_exporter", "nova-kvs",
    "nova-kvs-status", "nova-manage", "pip", "pipx", "placement-manage",
    "pre-commit", "pytest", "python", "redis-cli", "redis-server", "reno",
    "systemctl", "tox",
    # Redis's own, that take further words.
    "ACL", "CLUSTER", "CONFIG", "INFO",
}
