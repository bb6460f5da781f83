# SPDX-License-Identifier: Apache-2.0
"""Names the suites: which of a project's tests belong to each."""

import dataclasses
import pathlib
import re


@dataclasses.dataclass(frozen=True)
class Suite:
    """A named set of one project's tests.

    :param project: ``nova``, ``placement`` or another service.
    :param roots: dotted packages or modules, each with all below it.
    :param left_out: classes of theirs that do not belong to it.
    """

    project: str
    roots: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def modules(self, tree: pathlib.Path) -> list[str]:
        """List the test modules of the suite in a source tree."""
        found = []
        for root in self.roots:
            path = tree.joinpath(*root.split('.'))
            files = (sorted(path.rglob('test_*.py')) if path.is_dir()
                     else [path.with_suffix('.py')])
            for file in files:
                if file.exists():
                    relative = file.relative_to(tree).with_suffix('')
                    found.append('.'.join(relative.parts))
        return list(dict.fromkeys(found))

    def has(self, test_id: str) -> bool:
        """Tell whether a test of one of the modules belongs to the suite."""
        return test_id.split('(')[0].rpartition('.')[0] not in self.left_out


SUITES = {
    'db': Suite('nova', (
        'nova.tests.unit.db',
        'nova.tests.functional.db',
    )),
    'functional': Suite('nova', ('nova.tests.functional',)),
    'placement': Suite('placement', (
        'placement.tests.unit',
        'placement.tests.functional',
    )),
    # Of the services that have neither partition rules nor native functions
    # of ours, what is about their databases.
    'keystone': Suite('keystone', (
        'keystone.tests.unit.test_backend_sql',
        'keystone.tests.unit.test_shadow_users',
        'keystone.tests.unit.application_credential.backends.test_sql',
        'keystone.tests.unit.common.sql.test_upgrades',
        'keystone.tests.unit.credential.test_backend_sql',
        'keystone.tests.unit.endpoint_policy.backends.test_sql',
        'keystone.tests.unit.identity.backends.test_sql',
        'keystone.tests.unit.policy.backends.test_sql',
        'keystone.tests.unit.resource.backends.test_sql',
        'keystone.tests.unit.resource.config_backends.test_sql',
    )),
    'glance': Suite('glance', (
        'glance.tests.unit.test_db',
        'glance.tests.unit.test_db_metadef',
        'glance.tests.functional.db',
    )),
    'cinder': Suite('cinder', (
        'cinder.tests.unit.db',
        'cinder.tests.unit.test_db_api',
        'cinder.tests.unit.test_db_worker_api',
    )),
    # A sample: all of Neutron's tests of this kind take hours.
    'neutron': Suite('neutron', (
        'neutron.tests.unit.db.quota',
        'neutron.tests.unit.db.test_agents_db',
        'neutron.tests.unit.db.test_allowedaddresspairs_db',
        'neutron.tests.unit.db.test_l3_db',
        'neutron.tests.unit.db.test_ovn_hash_ring_db',
        'neutron.tests.unit.db.test_ovn_revision_numbers_db',
        'neutron.tests.unit.db.test_provisioning_blocks',
        'neutron.tests.unit.db.test_securitygroups_db',
        'neutron.tests.unit.objects.test_network',
        'neutron.tests.unit.objects.test_ports',
        'neutron.tests.unit.objects.test_rbac',
        'neutron.tests.unit.objects.test_router',
        'neutron.tests.unit.objects.test_subnet',
    )),
}

#: Suites with neither native functions nor several cells.
SERVICES = frozenset(('keystone', 'glance', 'cinder', 'neutron'))
#: Those whose tests keep foreign keys; others write rows without parents.
KEEP_FOREIGN_KEYS = frozenset(('keystone', 'glance'))

# Parts of a suite that have to be done within minutes.
SELECTIONS = {
    # What the store has to do with most. The classes that are left out run
    # the tests of one that is not with other resources or API versions, or
    # are about the scheduler's choices.
    'ci': Suite('nova', (
        'nova.tests.functional.test_servers',
        'nova.tests.functional.test_cross_cell_migrate',
        'nova.tests.functional.test_nova_manage',
        'nova.tests.functional.db.test_archive',
        'nova.tests.functional.db.test_quota',
        'nova.tests.functional.db.test_quotas',
        'nova.tests.functional.test_server_group',
    ), (
        'nova.tests.functional.test_servers.AcceleratorServerOpsTest',
        'nova.tests.functional.test_servers.PortAcceleratorServerOpsTest',
        'nova.tests.functional.test_servers'
        '.ServerMovingTestsWithNestedComputes',
        'nova.tests.functional.test_servers'
        '.ServerMovingTestsWithNestedResourceRequests',
        'nova.tests.functional.test_servers.ServersTestV21',
        'nova.tests.functional.test_servers.TraitsBasedSchedulingTest',
        'nova.tests.functional.test_servers'
        '.TwoPortsAcceleratorServerOpsTest',
        'nova.tests.functional.test_server_group.ServerGroupTestV21',
        'nova.tests.functional.test_server_group.ServerGroupTestV215',
        'nova.tests.functional.test_server_group.ServerGroupTestV264',
    )),
}

# Tests that depend on what ran before them in the same process are kept
# together; the first group of the expression names the batch. Gabbi's files
# are ordered sequences of requests (placement's own .stestr.conf).
GROUPS = {
    'placement.tests.functional.test_api':
        re.compile(r'placement\.tests\.functional\.test_api(?:\.|_)([^_]+)'),
}


def batch_key(module: str, test_id: str) -> str:
    """Tell which tests must run together, in order, in one process.

    :param module: the module that the test was loaded from.
    :param test_id: the test's id.
    :returns: a name; tests with the same name are one batch.
    """
    group = GROUPS.get(module)
    if group is not None:
        match = group.match(test_id)
        return f'{module}:{match.group(1)}' if match else module
    return test_id.split('(')[0].rpartition('.')[0]
