# SPDX-License-Identifier: Apache-2.0
"""Tells which functions of the installed Nova and Placement are known.

``releases.json`` has, of each supported release, a digest of every source
file concerned and a fingerprint of every function that has a native one.
Files that are those of a release need not be parsed. Nothing is imported.

A set of releases is an integer: bit n is the nth of the list.
"""

import functools
import importlib.util
import json
import pathlib
import typing

from nova_kvs.compatibility import source

#: File that ``nova_kvs.db.fingerprint`` writes.
DATA = pathlib.Path(__file__).with_name("releases.json")
#: Package -> the distribution that has it.
PACKAGES = {"nova": "nova", "placement": "openstack-placement"}

# Package -> Release.
_installed = {}


class Names(typing.NamedTuple):
    """The names that a function, and all that it reaches, look up."""

    #: Modules whose source the fingerprint covers.
    modules: tuple
    #: (module, name) that is looked up when the function runs.
    watched: tuple


@functools.cache
def load():
    """Return the content of the data file: package -> its part."""
    return json.loads(DATA.read_text(encoding="utf-8"))


def packed(reference, module):
    """Return a source.Reference as the data file has it.

    :param module: whose source refers, which is left out of the text.
    """
    place = "%s:%s" % (reference.space, reference.name)
    text = reference.name if reference.space == module else place
    if reference.meaning != place:
        text += "=" + (reference.meaning or "")
    return text if reference.is_late else "@" + text


def unpacked(text, module):
    """Return the source.Reference that a text of the data file is."""
    place, differs, meaning = text.removeprefix("@").partition("=")
    space, colon, name = place.rpartition(":")
    space = space if colon else module
    return source.Reference(
        space, name,
        (meaning or None) if differs else "%s:%s" % (space, name),
        not text.startswith("@"))


class Release:
    """The knowledge of an installed package.

    :param known: the package's part of the data file.
    :param root: directory that the package's own one is in.
    """

    def __init__(self, known, root):
        self._known = known
        self._tree = source.Tree(root)
        self._digests = {}
        self._states = {}

    @property
    def targets(self):
        """Every function that has a native one, in some release."""
        return self._known["functions"].keys()

    def has(self, target):
        """Tell whether the installed source has a function.

        It is taken for there if the source cannot be read.
        """
        try:
            return self._tree.find(target) is not None
        except (OSError, SyntaxError, ValueError):
            return True

    def is_known(self, target):
        """Tell whether a function is that of a supported release.

        :param target: "module:qualified name".
        :returns: False also for a function whose source cannot be read.
        """
        found = self._states.get(target)
        if found is None:
            try:
                found = self._is_known(target)
            except (OSError, SyntaxError, ValueError, RecursionError):
                found = False
            self._states[target] = found
        return found

    def asks_no_session(self, target):
        """Tell whether a method that chooses a reader mode is known to ask
        the database by functions of nova.db.main.api only.
        """
        return (target in self._known["reader_modes"]
                and self.is_known(target))

    def _is_known(self, target):
        fingerprints = self._known["functions"].get(
            target, self._known["reader_modes"].get(target, {}))
        same = -1
        for module in self.names(target).modules:
            same &= self._releases_of(module)
        if same:
            return any(same & some for some in fingerprints.values())
        return self._tree.fingerprint(target) in fingerprints

    def _releases_of(self, module):
        """Return the releases that have a module's file as it is."""
        found = self._digests.get(module)
        if found is None:
            found = self._digests[module] = self._known["modules"].get(
                module, {}).get(self._tree.digest(module), 0)
        return found

    def count_known(self):
        """Return the number of functions that are there and known."""
        return sum(map(self.is_known, self.targets))

    def unknown(self):
        """Return the functions that are there and not known, sorted."""
        asked = *self.targets, *self._known["reader_modes"]
        return sorted(target for target in asked
                      if not self.is_known(target) and self.has(target))

    def names(self, target):
        """Return the Names of a function, in any supported release."""
        return Names(
            tuple(sorted({name.partition(":")[0]
                          for name, _late in self._reach(target, False)})),
            tuple(dict.fromkeys(
                (reference.space, reference.name)
                for _name, references in self._reach(target, True)
                for reference in references)))

    def _reach(self, target, only_late):
        """Yield what a function reaches by name, with its References.

        :param only_late: whether to leave out what decorators refer to.
        """
        reached, left = {target}, [target]
        while left:
            current = left.pop()
            module = current.partition(":")[0]
            found = [unpacked(text, module) for text
                     in self._known["references"].get(current, ())]
            if only_late:
                found = [reference for reference in found
                         if reference.is_late]
            yield current, found
            for reference in found:
                if reference.meaning and reference.meaning not in reached:
                    reached.add(reference.meaning)
                    left.append(reference.meaning)

    def parameters(self, target):
        """Return the names of a function's parameters, or None."""
        try:
            return self._tree.parameters(target)
        except (OSError, SyntaxError, ValueError):
            return None


def installed(package):
    """Return the Release of a package, or None if it is not installed."""
    found = _installed.get(package)
    if found is None:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            return None
        if spec is None or not spec.submodule_search_locations:
            return None
        found = _installed[package] = Release(load()[package], pathlib.Path(
            list(spec.submodule_search_locations)[0]).parent)
    return found
