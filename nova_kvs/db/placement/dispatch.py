# SPDX-License-Identifier: Apache-2.0
"""Puts the native functions in front of Placement's.

As ``nova_kvs.db.dispatch`` does it for Nova's: what stands there decides at
each call. A function that is not of a release that is known stays as it is.
"""

import inspect

from nova_kvs.db import overrides
from nova_kvs.db.placement import native
from nova_kvs.db import selection as selections

#: Modules whose import fills ``native.REGISTRY``.
MODULES = ("allocations", "attributes", "candidates", "changes", "claims",
           "consumers", "providers", "searches")


selection = selections.Selection(
    "placement", ["nova_kvs.db.placement." + name for name in MODULES],
    native.REGISTRY)


def load():
    """Import every native module that this release of Placement allows.

    :returns: dict of "module:qualified name" -> what stands there.
    """
    return selection.load()


def install(trusts=False):
    """Put the native functions in front of Placement's, once.

    :param trusts: whether to replace functions that are not known, too.
    :returns: number of functions that were replaced by this call.
    """
    if not selection.is_possible():
        return 0
    found = []
    registry = load()
    for target, wrapper in registry.items():
        try:
            owner, name, raw = native.lookup(target)
        except (AttributeError, ImportError):
            # This release of Placement does not have it.
            continue
        own = native._plain(raw)
        if own is not wrapper and selection.fits(target, own, trusts):
            found.append((owner, name, raw, own, wrapper))
    for owner, name, raw, own, wrapper in found:
        wrapper.nova_original = own
        _replace(owner, name, raw, wrapper)
    if found:
        _watch([wrapper for wrapper in registry.values()
                if wrapper.nova_original is not None])
    selection.tell(trusts)
    return len(found)


def _watch(wrappers):
    """Note what must not be replaced for functions to run natively."""
    everything = {}
    for wrapper in wrappers:
        wrapper.nova_callees = overrides.watch(
            selection.release, wrapper.target)
        owner, name, _raw = native.lookup(wrapper.target)
        own = ((vars(owner).get, name, wrapper),) if inspect.ismodule(
            owner) else ()
        for entry in wrapper.nova_callees + own:
            everything[entry] = None
    for wrapper in wrappers:
        if wrapper.watches_all:
            wrapper.nova_callees = tuple(everything)


def uninstall():
    """Take the native functions away again."""
    for target, wrapper in native.REGISTRY.items():
        own = wrapper.nova_original
        if own is not None:
            owner, name, raw = native.lookup(target)
            if native._plain(raw) is wrapper:
                _replace(owner, name, raw, own)
            wrapper.nova_original = None
            wrapper.nova_callees = ()


def _replace(owner, name, raw, function):
    if isinstance(raw, (classmethod, staticmethod)):
        function = type(raw)(function)
    setattr(owner, name, function)


def table():
    """Return a table of functions and releases in reStructuredText."""
    return selections.table("placement", "placement.")


def main():
    """Print the table."""
    print(table(), end="")


if __name__ == "__main__":
    main()
