# SPDX-License-Identifier: Apache-2.0
"""Notices that an operator has patched a part of a function of Nova's.

A patch, or a test's mock, of a helper that a function of Nova's calls is
meant to have its effect. The native function does not call the helper, so
it gives way. Which helpers a function has is known with its fingerprint.
"""

import inspect
import sys

# Packages whose functions and decorators are no patches.
_OWN = ("nova", "nova_kvs", "placement")
_THEIRS = ("contextlib", "debtcollector", "oslo_", "osprofiler", "sqlalchemy")
_WATCHED = (*_OWN, "oslo_db", "sqlalchemy")


def is_own(value):
    """Tell whether a function, and all around it, is as it was released."""
    value = getattr(value, "__func__", value)
    while value is not None:
        if not inspect.isfunction(value):
            return False
        module = value.__globals__.get("__name__", "")
        if module.partition(".")[0] not in _OWN and (
                not module.startswith(_THEIRS)):
            return False
        value = getattr(value, "__wrapped__", None)
    return True


def _is_watched(value):
    return inspect.isfunction(value) and (
        value.__module__.partition(".")[0] in _WATCHED)


def watch(release, target):
    """Return the helpers whose replacement is to be noticed.

    :param release: nova_kvs.compatibility.releases.Release.
    :param target: "module:qualified name" of the function that has them.
    :returns: tuple of (function that looks a name up, name, function found).
    """
    found = []
    for module, name in release.names(target).watched:
        if module in sys.modules:
            space = vars(sys.modules[module])
            value = space.get(name)
            if _is_watched(value):
                found.append((space.get, name, value))
            elif isinstance(value, type) and issubclass(value, Exception):
                # Who catches what a helper raises may reach the helper by a
                # method, such as Query.update_on_match of oslo.db.
                found.extend(
                    (space.get, other, helper)
                    for other, helper in space.items()
                    if _is_watched(helper) and helper.__module__ == module)
    return tuple(found)


def are_patched(watched):
    """Tell whether a helper is no longer as it was released."""
    return not all(is_own(value) for _look_up, _name, value in watched)


def are_replaced(watched):
    """Tell whether any of what ``watch`` returned was replaced since."""
    for look_up, name, value in watched:
        found = look_up(name)
        if found is not value and not _is_told_of_us(found, value):
            return True
    return False


def _is_told_of_us(found, value):
    """Tell whether a function is another one that knows our scheme, too.

    The dialect puts it in place with the first engine, which may be after the
    native functions are.
    """
    return getattr(found, "kvs_knows_itself", None) is True and (
        getattr(found, "__wrapped__", None) is value)
