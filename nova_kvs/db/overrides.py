# SPDX-License-Identifier: Apache-2.0
"""Notices that somebody has replaced a part of a function of Nova's.

An operator's patch, or a test's mock, of a helper that a function of Nova's
calls is meant to have its effect. The native function does not call the
helper, so it has to give way.
"""

import inspect
import types

_PACKAGES = ("nova", "nova_kvs", "oslo_db", "placement", "sqlalchemy")


def _names(code):
    """Return the names that code and what is defined in it look up."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _is_watched(value):
    return inspect.isfunction(value) and (
        (value.__module__ or "").partition(".")[0] in _PACKAGES)


def callees(function):
    """Return the functions that a function of Nova's reaches by name.

    Those of its own module, what these reach in turn, and those of modules
    that it imports; not the methods of objects.

    :param function: Nova's function, decorated or not.
    :returns: tuple of (namespace, name, function found there).
    """
    found = {}
    left = [inspect.unwrap(function)]
    while left:
        current = left.pop()
        space = current.__globals__
        names = _names(current.__code__)
        for name in names:
            value = space.get(name)
            if isinstance(value, types.ModuleType):
                for attribute in names:
                    inner = vars(value).get(attribute)
                    if _is_watched(inner):
                        found[id(vars(value)), attribute] = (
                            vars(value), attribute, inner)
            elif _is_watched(value) and (
                    (id(space), name) not in found):
                found[id(space), name] = (space, name, value)
                plain = inspect.unwrap(getattr(value, "nova_original", value))
                if plain.__globals__ is space:
                    left.append(plain)
    return tuple(found.values())


def are_replaced(watched):
    """Tell whether any of what ``callees`` returned was replaced since."""
    for space, name, value in watched:
        if space.get(name) is not value:
            return True
    return False
