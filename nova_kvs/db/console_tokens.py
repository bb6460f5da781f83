# SPDX-License-Identifier: Apache-2.0
"""Console authorizations.

:source: nova.db.main.api, "console_auth_token_*"
"""

from nova.db.main import models
from oslo_utils import timeutils

from nova_kvs.db import instances
from nova_kvs.db import native
from nova_kvs.db import rows

TOKENS = rows.table(models.ConsoleAuthToken)


def _expired():
    """Return the test for expired tokens, and their ranges."""
    now = timeutils.utcnow_ts()
    return (lambda stored: stored["expires"] <= now,
            {"expires": (None, now)})


@native.main_writer()
def console_auth_token_create(s, context, values):
    """Create a console authorization."""
    instances.exists_in_project(s, context, values.get("instance_uuid"))
    return s.insert(TOKENS, values)


@native.main_reader()
def console_auth_token_get_valid(s, context, token_hash,
                                 instance_uuid=None):
    """Get a valid console authorization by token_hash and instance_uuid."""
    equal = {"token_hash": token_hash}
    if instance_uuid is not None:
        instances.exists_in_project(s, context, instance_uuid)
        equal["instance_uuid"] = instance_uuid
    now = timeutils.utcnow_ts()
    return s.first(TOKENS, lambda stored: stored["expires"] > now, **equal)


@native.main_writer()
def console_auth_token_destroy_all_by_instance(s, context, instance_uuid):
    """Delete all console authorizations belonging to the instance."""
    s.delete(s.all(TOKENS, instance_uuid=instance_uuid))


@native.main_writer()
def console_auth_token_destroy_expired(s, context):
    """Delete expired console authorizations."""
    s.delete(s.all(TOKENS, *_expired()))


@native.main_writer()
def console_auth_token_destroy_expired_by_host(s, context, host):
    """Delete expired console authorizations belonging to the host."""
    s.delete(s.all(TOKENS, *_expired(), host=host))
