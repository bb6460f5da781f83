# SPDX-License-Identifier: Apache-2.0
"""Makes the fingerprints of the functions that have a native one.

``python -m nova_kvs.db.fingerprint nova-34.0.0-py3-none-any.whl ...`` adds
releases of Nova and Placement to ``compatibility/releases.json``, or makes
their part of it anew. A function whose parameters are not those of the
native one stays with the dialect in that release.
"""

import argparse
import contextlib
import inspect
import json
import pathlib
import tempfile
import zipfile

from nova_kvs.compatibility import releases
from nova_kvs.compatibility import source
from nova_kvs.db import dispatch
from nova_kvs.db import native
from nova_kvs.db.placement import dispatch as placement_dispatch

# Parts of the data file that say something of each release.
_PARTS = ("modules", "functions", "dialect", "reader_modes")


def targets(package):
    """Return target -> names of the native function's parameters.

    The names are None where the native one takes whatever it is given.
    """
    registry = (dispatch if package == "nova" else placement_dispatch).load()
    return {
        target: list(inspect.signature(wrapper).parameters)
        if hasattr(wrapper, "native") else None
        for target, wrapper in sorted(registry.items())}


def _queries_without_native(tree, known):
    """Yield functions of nova.db.main.api that only the dialect runs."""
    module = tree.module(native.MAIN)
    for name in module.definitions if module else ():
        target = "%s:%s" % (native.MAIN, name)
        if (not name.startswith("_") and name not in dispatch.NO_QUERIES
                and target not in known
                and "context" in (tree.parameters(target) or ())):
            yield target


def _reader_modes(tree):
    """Yield the methods of objects that choose a reader mode."""
    for path in sorted((tree.root / "nova" / "objects").glob("*.py")):
        module = tree.module("nova.objects." + path.stem)
        for name, node in module.definitions.items():
            for member in getattr(node, "body", ()):
                if any(getattr(decorator, "attr", None) == (
                        "select_db_reader_mode")
                       for decorator in getattr(
                           member, "decorator_list", ())):
                    yield "%s:%s.%s" % (module.name, name, member.name)


@contextlib.contextmanager
def _unpacked(path):
    """Give the directory that a wheel, or a directory, has packages in."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as directory:
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if name.endswith(".py") and "/tests/" not in name:
                    wheel.extract(name, directory)
        yield pathlib.Path(directory)


def _version_key(version):
    return [int(part) if part.isdigit() else -1
            for part in version.split(".")]


class Package:
    """The part of the data file that one package has.

    :param known: that part, as it is.
    """

    def __init__(self, name, known):
        self._targets = targets(name)
        # Of releases that are not given what is known stays.
        self._releases = {version: tuple({} for _part in _PARTS)
                          for version in known.get("releases", ())}
        self._references = known.get("references", {})
        for position, version in enumerate(known.get("releases", ())):
            for part, kept in zip(_PARTS, self._releases[version]):
                for key, values in known[part].items():
                    for value, some in values.items():
                        if some >> position & 1:
                            kept[key] = value

    def add(self, version, root):
        """Take the fingerprints of one release."""
        tree = source.Tree(root)
        functions, modules, reader_modes = {}, {}, {}
        other = dict.fromkeys(_queries_without_native(
            tree, self._targets), "")
        for target, parameters in self._targets.items():
            fingerprint = tree.fingerprint(target)
            if fingerprint is None:
                modules[target.partition(":")[0]] = None
                continue
            if parameters and tree.parameters(target) != parameters:
                other[target] = ""
            else:
                functions[target] = fingerprint
            self._reach(tree, target, modules)
        for target in set(_reader_modes(tree)) - set(self._targets):
            reader_modes[target] = tree.fingerprint(target)
            self._reach(tree, target, modules)
        self._releases[version] = (
            {name: tree.digest(name) for name in modules}, functions, other,
            reader_modes)

    def _reach(self, tree, target, modules):
        """Take note of what a function reaches by name."""
        for name in tree.closure(target):
            module = name.partition(":")[0]
            modules[module] = None
            self._references[name] = sorted({
                *self._references.get(name, ()),
                *(releases.packed(reference, module)
                  for reference in tree.references(name))})

    def content(self):
        """Return the package's part of the data file."""
        versions = sorted(self._releases, key=_version_key)
        result = {"releases": versions, **{part: {} for part in _PARTS}}
        names = {name for parts in self._releases.values()
                 for name in parts[0]}
        for position, version in enumerate(versions):
            modules, functions, other, modes = self._releases[version]
            for target, fingerprint in modes.items():
                self._set(result["reader_modes"], target, fingerprint,
                          position)
            for name in names:
                self._set(result["modules"], name,
                          modules.get(name, ""), position)
            for target in other:
                self._set(result["dialect"], target, "", position)
            for target in self._targets:
                if target in functions:
                    self._set(result["functions"], target,
                              functions[target], position)
                else:
                    result["functions"].setdefault(target, {})
        left = [*self._targets, *result["reader_modes"]]
        reached = set(left)
        while left:
            name = left.pop()
            for text in self._references.get(name, ()):
                meaning = releases.unpacked(
                    text, name.partition(":")[0]).meaning
                if meaning and meaning not in reached:
                    reached.add(meaning)
                    left.append(meaning)
        result["references"] = {
            name: found for name, found in self._references.items()
            if found and name in reached}
        return result

    @staticmethod
    def _set(part, key, value, position):
        values = part.setdefault(key, {})
        values[value] = values.get(value, 0) | 1 << position


def main(arguments=None):
    """Add releases to the data file."""
    parser = argparse.ArgumentParser(
        prog="python -m nova_kvs.db.fingerprint",
        description="Add releases of Nova and Placement to what is known.")
    parser.add_argument("wheels", nargs="+", type=pathlib.Path,
                        metavar="WHEEL", help="NAME-VERSION-....whl")
    found = parser.parse_args(arguments)
    known = releases.load() if releases.DATA.exists() else {}
    packages = {name: Package(name, known.get(name, {}))
                for name in releases.PACKAGES}
    by_distribution = {distribution.replace("-", "_"): packages[name]
                       for name, distribution in releases.PACKAGES.items()}
    for path in found.wheels:
        distribution, version = path.name.split("-")[:2]
        with _unpacked(path) as root:
            by_distribution[distribution].add(version, root)
    releases.DATA.write_text(json.dumps(
        {name: package.content() for name, package in packages.items()},
        indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
