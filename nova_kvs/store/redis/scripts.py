# SPDX-License-Identifier: Apache-2.0
"""Loads Lua scripts from packages.

A script is one file, ``<package>/lua/<name>.lua``. One of its leading
comment lines is ``-- Writes.`` or ``-- Reads.`` (words may follow on that
line): a script that only reads may be sent to a replica.
"""

import functools
import hashlib
import importlib.resources

from nova_kvs.store import base


@functools.lru_cache(maxsize=None)
def load(package, name):
    """Return a script of a package.

    :param package: dotted name of the package that has ``lua/``.
    :param name: file name without ``.lua``.
    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if its header does not say whether it writes.
    """
    path = importlib.resources.files(package) / "lua" / (name + ".lua")
    source = path.read_bytes()
    return made(name, source, _writes(source, name))


def made(name, source, writes):
    """Return a script of a source."""
    return base.Script(
        name, source, hashlib.sha1(source, usedforsecurity=False)
        .hexdigest().encode("ascii"), writes)


def _writes(source, name):
    for line in source.decode("utf-8").splitlines():
        if not line.startswith("--"):
            break
        word = line[2:].strip().partition(" ")[0].rstrip(".:,;").lower()
        if word in ("writes", "reads"):
            return word == "writes"
    raise ValueError(
        "the header of %s.lua has no line '-- Writes.' or '-- Reads.'" % name)
