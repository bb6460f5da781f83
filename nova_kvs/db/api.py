# SPDX-License-Identifier: Apache-2.0
"""The interface of nova.db.main.api: each function native, or Nova's own.

Names are looked up when they are used, so that importing this module does
not import Nova: a process without Nova (Placement) loads it for
``install`` alone. As a backend of oslo.db's DBAPI it is loaded with
``[database] backend = nova_kvs.db.api``.
"""

import importlib
import inspect
import logging
import sys

LOG = logging.getLogger(__name__)

_MAIN = "nova.db.main.api"
_NOVA = (_MAIN, "nova.db.api.api")
_PLACEMENT = "placement.objects.allocation"
# Modules whose failure is logged.
_failed = set()


def get_backend():
    """Return the object that has the functions: oslo.db's contract."""
    return sys.modules[__name__]


def install(trusts=False):
    """Put the native functions in front of Nova's and of Placement's.

    Does nothing about one that the process has not imported, and nothing
    the second time. Whatever a release of them lacks, this does not raise:
    the functions concerned then run on the dialect.

    :param trusts: whether to replace functions that are not those of a
        release that is known, too.
    :returns: number of functions that were replaced.
    """
    replaced = 0
    if any(name in sys.modules for name in _NOVA):
        replaced += _install("nova_kvs.db.dispatch", trusts)
    if _PLACEMENT in sys.modules:
        replaced += _install("nova_kvs.db.placement.dispatch", trusts)
    return replaced


def _install(name, trusts):
    try:
        return importlib.import_module(name).install(trusts)
    # A service must start with a release that nobody has seen.
    except Exception as error:
        if name not in _failed:
            _failed.add(name)
            LOG.warning("Every function runs on the dialect, for %s does "
                        "not load: %s: %s", name, type(error).__name__,
                        error)
        return 0


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(name)
    from nova_kvs.db import dispatch

    native = dispatch.load().get("%s:%s" % (_MAIN, name))
    if native is not None:
        return native
    return getattr(importlib.import_module(_MAIN), name)


def __dir__():
    main_db_api = importlib.import_module(_MAIN)
    names = {name for name, _function in inspect.getmembers(
        main_db_api, inspect.isfunction) if not name.startswith("_")}
    return sorted(names | set(globals()))
