# SPDX-License-Identifier: Apache-2.0
"""Puts the native functions in front of Placement's.

As ``nova_kvs.db.dispatch`` does it for Nova's: what stands there decides at
each call. A release of Placement that does not have a function, or has one
of other parameters, keeps its own.
"""

import importlib
import inspect

from nova_kvs.db import overrides
from nova_kvs.db.placement import native

#: Modules whose import fills ``native.REGISTRY``.
MODULES = ("allocations", "attributes", "candidates", "consumers",
           "providers", "searches")


def load():
    """Import every native module.

    :returns: dict of "module:qualified name" -> what stands there.
    """
    for name in MODULES:
        importlib.import_module("nova_kvs.db.placement." + name)
    return native.REGISTRY


def install():
    """Put the native functions in front of Placement's, once.

    :returns: number of functions that were replaced by this call.
    """
    replaced = 0
    registry = load()
    for target, wrapper in registry.items():
        try:
            owner, name, raw = native.lookup(target)
        except (AttributeError, ImportError):
            # This release of Placement does not have it.
            continue
        own = native._plain(raw)
        if own is wrapper or not _is_known(wrapper, own):
            continue
        wrapper.nova_original = own
        _replace(owner, name, raw, wrapper)
        replaced += 1
    if replaced:
        _watch([wrapper for wrapper in registry.values()
                if wrapper.nova_original is not None])
    return replaced


def _watch(wrappers):
    """Note what must not be replaced for functions to run natively."""
    everything = {}
    for wrapper in wrappers:
        wrapper.nova_callees = overrides.callees(wrapper.nova_original)
        owner, name, _raw = native.lookup(wrapper.target)
        own = ((vars(owner), name, wrapper),) if inspect.ismodule(
            owner) else ()
        for space, name, value in wrapper.nova_callees + own:
            everything[id(space), name] = space, name, value
    for wrapper in wrappers:
        if wrapper.watches_all:
            wrapper.nova_callees = tuple(everything.values())


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


def _is_known(wrapper, own):
    """Tell whether a function of Placement's is the one we know."""
    function = getattr(wrapper, "native", None)
    if function is None:
        return hasattr(own, "__wrapped__")
    ours = list(inspect.signature(function).parameters.values())[1:]
    theirs = list(inspect.signature(own).parameters.values())
    return [(one.name, one.default) for one in ours] == [
        (one.name, one.default) for one in theirs]


def table():
    """Return the native functions as a list in reStructuredText."""
    return "".join("* ``%s``\n" % target.removeprefix("placement.")
                   for target in sorted(load()))


def main():
    """Print the list."""
    print(table(), end="")


if __name__ == "__main__":
    main()
