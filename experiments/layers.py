# SPDX-License-Identifier: Apache-2.0
"""Which layer a source file belongs to. Imports nothing but ``re``."""

import re

#: Layer -> its packages. Work counts for the innermost frame that is in one of
#: them, so for whoever called the standard library or one that is not named.
LAYERS = {
    "KVS: round trips": ("nova_kvs/store", "redis", "hiredis"),
    "KVS: records, transactions": ("nova_kvs/record", "nova_kvs/txn"),
    "KVS: native functions": ("nova_kvs/db",),
    "KVS: dialect": ("nova_kvs/dialect",),
    "SQLAlchemy": ("sqlalchemy", "oslo_db"),
    "MySQL driver": ("pymysql",),
    "Nova's objects": ("nova/objects", "oslo_versionedobjects"),
    "Messages": ("oslo_messaging", "amqp", "kombu"),
    "Requests to others": ("keystoneauth1", "requests", "urllib3"),
    "Routing, policy, schemas": (
        "webob", "routes", "paste", "jsonschema", "oslo_policy",
        "oslo_middleware", "nova/api", "nova/policies", "microversion_parse"),
    "Logging": ("oslo_log", "logging"),
    "Rest of Nova": ("nova",),
    "Rest of Placement": ("placement",),
}
OTHER = "Other"
NAMES = (*LAYERS, OTHER)
_LAYER_OF = {package: name for name, packages in LAYERS.items()
             for package in packages}
_PACKAGE = re.compile(r"(?:^|/)(%s)[/.]" % "|".join(
    # nova/objects before nova.
    sorted(map(re.escape, _LAYER_OF), key=len, reverse=True)))


def layer_of(path):
    """Return the layer of a file, or None if it is in none.

    :param path: absolute.
    """
    found = None
    for found in _PACKAGE.finditer(path.rpartition("site-packages/")[2]):
        pass
    return _LAYER_OF[found.group(1)] if found else None
