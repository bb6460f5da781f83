# SPDX-License-Identifier: Apache-2.0
"""Has Nova filter lists with regular expressions, as it does on MySQL.

Nova looks at the scheme of its connection to see what its database can do,
and takes LIKE for one that it does not know. The dialect speaks SQLite's SQL,
and has its REGEXP.
"""

import functools
import sys

from nova_kvs.compatibility import private

# Where the function is: since Nova 33, and before.
_MODULES = ("nova.db.utils", "nova.db.main.api")


def _with_ours(connection_type):
    @functools.wraps(connection_type)
    def with_ours(connection):
        answer = connection_type(connection)
        return "sqlite" if answer == "kvs" else answer

    with_ours.kvs_knows_itself = True
    return with_ours


def register():
    """Have Nova, if it is in this process, know the scheme ``kvs``."""
    name = private.DB_CONNECTION_TYPE
    for module in map(sys.modules.get, _MODULES):
        connection_type = getattr(module, name, None)
        if connection_type is not None and not hasattr(
                connection_type, "kvs_knows_itself"):
            setattr(module, name, _with_ours(connection_type))
