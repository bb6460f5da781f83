# SPDX-License-Identifier: Apache-2.0
"""Loads Lua scripts from packages.

A script is one file, ``<package>/lua/<name>.lua``. One of its leading
comment lines is ``-- Writes.`` or ``-- Reads.``: a script that only reads may
be sent to a replica. If ``Uses prelude.lua.`` follows on that line, what runs
is that file with the script behind it.
"""

import functools
import hashlib
import importlib.resources

from nova_kvs.store.redis import raw


@functools.lru_cache(maxsize=None)
def load(package, name):
    """Return a script of a package.

    :param package: dotted name of the package that has ``lua/``.
    :param name: file name without ``.lua``.
    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if its header does not say whether it writes.
    """
    folder = importlib.resources.files(package) / "lua"
    source = (folder / (name + ".lua")).read_bytes()
    words = _words(source, name)
    if words[1:] == ["uses", "prelude.lua"]:
        source = (folder / "prelude.lua").read_bytes() + source
    return made(name, source, words[0] == "writes")


def made(name, source, writes):
    """Return a script of a source."""
    return raw.Script(
        name, source, hashlib.sha1(source, usedforsecurity=False)
        .hexdigest().encode("ascii"), writes)


def _words(source, name):
    """Return the words of the header's line that says what it does."""
    for line in source.decode("utf-8").splitlines():
        if not line.startswith("--"):
            break
        words = [word.rstrip(".:,;").lower() for word in line[2:].split()]
        if words[:1] in (["writes"], ["reads"]):
            return words
    raise ValueError(
        "the header of %s.lua has no line '-- Writes.' or '-- Reads.'" % name)
