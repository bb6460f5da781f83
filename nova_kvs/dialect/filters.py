# SPDX-License-Identifier: Apache-2.0
"""Has Nova filter lists with regular expressions, as it does on MySQL.

Nova looks at the scheme of its connection to see what its database can do,
and takes LIKE for one that it does not know. The dialect speaks SQLite's SQL,
and has its REGEXP.
"""

import functools
import sys

from nova_kvs.compatibility import private

# Where the functions are: since Nova 33, and before.
_MODULES = ("nova.db.utils", "nova.db.main.api")


def _with_ours(connection_type):
    @functools.wraps(connection_type)
    def with_ours(connection):
        answer = connection_type(connection)
        return "sqlite" if answer == "kvs" else answer

    with_ours.kvs_knows_itself = True
    return with_ours


def _as_on_sqlite(regexp_ops):
    @functools.wraps(regexp_ops)
    def as_on_sqlite(connection):
        if (connection or "").startswith("kvs"):
            connection = "sqlite://"
        return regexp_ops(connection)

    as_on_sqlite.kvs_knows_itself = True
    return as_on_sqlite


def register():
    """Have Nova, if it is in this process, know the scheme ``kvs``.

    If a release does not have the function that tells schemes, the one that
    asks for it is told another.
    """
    for module in filter(None, map(sys.modules.get, _MODULES)):
        for name, wrap in ((private.DB_CONNECTION_TYPE, _with_ours),
                           (private.GET_REGEXP_OPS, _as_on_sqlite),
                           ("get_regexp_ops", _as_on_sqlite)):
            function = getattr(module, name, None)
            if callable(function):
                if not hasattr(function, "kvs_knows_itself"):
                    setattr(module, name, wrap(function))
                break
