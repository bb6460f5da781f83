# SPDX-License-Identifier: Apache-2.0
"""Where earlier installations' entry points look for the driver."""

from nova_kvs.store.redis.server import ServerStore  # noqa: F401
