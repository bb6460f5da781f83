# SPDX-License-Identifier: Apache-2.0
"""Marks work that frees memory, for servers that are full.

A Redis server at ``maxmemory`` refuses what may need more memory. Deleting
rows needs a little first: an outcome, a task, a shadow row. So archive, purge
and housekeeping say what they are, and the driver has it let through.
"""

import contextlib
import contextvars

_is_freeing = contextvars.ContextVar("nova_kvs_freeing", default=False)

#: Tells whether this block is within ``freeing_memory``.
is_freeing = _is_freeing.get


@contextlib.contextmanager
def freeing_memory():
    """Let servers without free memory take what this block writes."""
    token = _is_freeing.set(True)
    try:
        yield
    finally:
        _is_freeing.reset(token)
