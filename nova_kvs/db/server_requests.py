# SPDX-License-Identifier: Apache-2.0
"""A new server's request spec, build request and mapping, in one commit.

:source: nova.compute.api
"""

from nova_kvs.db import native

TARGET = "nova.compute.api:API._create_reqspec_buildreq_instmapping"


def _create_reqspec_buildreq_instmapping(context, rs, br, im):
    """Create the three records of a new server in one transaction."""
    kvs = native.api_database(context)
    if kvs is None:
        return native.original(TARGET)(context, rs, br, im)
    with native.shared_session(kvs):
        rs.create()
        br.create()
        im.create()


native.REGISTRY[TARGET] = _create_reqspec_buildreq_instmapping
