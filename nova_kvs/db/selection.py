# SPDX-License-Identifier: Apache-2.0
"""Selects the native functions that fit what is installed.

A function that is not one of a supported release, by its fingerprint, stays
with the dialect, and so do those of a native module that does not load with
this release. What stays is named once in the log.
"""

import importlib
import importlib.metadata
import inspect
import logging
import sys

from nova_kvs.compatibility import releases
from nova_kvs.db import engines
from nova_kvs.db import overrides

LOG = logging.getLogger(__name__)

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def has_parameters_of(function, wrapper):
    """Tell whether a function has the parameters of its native one."""
    native = getattr(wrapper, "native", None)
    if native is None:
        return hasattr(function, "__wrapped__")
    ours = list(inspect.signature(native).parameters.values())[1:]
    theirs = list(inspect.signature(function).parameters.values())
    if not any(one.kind in _REST for one in ours):
        # A decorator's are all that can be seen of a handler.
        theirs = [one for one in theirs if one.kind not in _REST]
    return [(one.name, one.default) for one in ours] == [
        (one.name, one.default) for one in theirs]


class Selection:
    """The native functions of one package.

    :param package: "nova" or "placement".
    :param modules: names of the modules whose import fills the registry.
    :param registry: target -> what may stand there.
    """

    def __init__(self, package, modules, registry):
        self._package = package
        self._modules = modules
        self._registry = registry
        #: Module that does not load -> why.
        self.failures = {}
        self._is_loaded = False
        self._is_told = False

    @property
    def release(self):
        """The nova_kvs.compatibility.releases.Release that is installed."""
        return releases.installed(self._package)

    def load(self):
        """Import every native module that loads; return the registry."""
        if not self._is_loaded:
            for name in self._modules:
                known = set(self._registry)
                try:
                    importlib.import_module(name)
                # This must not keep a service from starting.
                except Exception as error:
                    self.failures[name] = error
                    self._forget(set(self._registry) - known)
            self._is_loaded = True
        return self._registry

    def _forget(self, targets):
        """Drop what a module registered before it failed."""
        for target in targets:
            wrapper = self._registry[target]
            if not hasattr(wrapper, "native") or (
                    wrapper.native.__module__ not in sys.modules):
                del self._registry[target]

    def fits(self, target, function, trusts):
        """Tell whether the native function may stand for a function.

        :param function: what stands there.
        :param trusts: whether to trust one that is not known, as long as
            it has the same parameters.
        """
        if not overrides.is_own(function) or overrides.are_patched(
                overrides.watch(self.release, target)):
            return False
        return self.release.is_known(target) or (
            trusts and has_parameters_of(
                function, self._registry[target]))

    def is_possible(self):
        """Tell whether anything can be native with this oslo.db."""
        self.load()
        return self.release is not None and engines.can_tell()

    def left_out(self):
        """Return the functions there that have no, or no known, native one.

        :returns: sorted list of targets, those of modules that do not load
            included.
        """
        release = self.release
        if release is None:
            return []
        if not self.is_possible():
            return sorted(filter(release.has, release.targets))
        return sorted({
            *release.unknown(),
            *(target for target in release.targets
              if target not in self._registry and release.has(target))})

    def tell(self, trusts):
        """Log, once, what does not run natively for what it is."""
        if self._is_told:
            return
        self._is_told = True
        names = self.left_out()
        if not names:
            return
        LOG.warning(
            "%d functions of %s %s are not those of a release that this "
            "nova-kvs knows. They run on the dialect%s: %s%s",
            len(names), self._package, version(self._package),
            ", unless trust_unknown_releases covers them" if trusts else "",
            ", ".join(names),
            "".join("; %s does not load: %s: %s" % (
                name, type(error).__name__, error)
                for name, error in sorted(self.failures.items())))


def version(package):
    """Return the version of a package that is installed."""
    try:
        return importlib.metadata.version(releases.PACKAGES[package])
    except importlib.metadata.PackageNotFoundError:
        return "(version unknown)"


def table(package, *prefixes):
    """Return how each function runs by release, in reStructuredText.

    :param prefixes: what to leave out at the start of functions' names;
        those that begin with the first come first.
    """
    known = releases.load()[package]
    series = {}
    for position, release in enumerate(known["releases"]):
        series.setdefault(release.partition(".")[0], []).append(position)
    names = set(known["functions"]) | set(known["dialect"])
    rows = []
    for target in names:
        position, prefix = next(
            (number, prefix) for number, prefix in enumerate(prefixes)
            if target.startswith(prefix))
        rows.append((position, target.removeprefix(prefix), target))
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - Function",
             *("     - %s" % name for name in series)]
    for _position, name, target in sorted(rows):
        lines.append("   * - ``%s``" % name)
        native = _union(known["functions"].get(target, {}))
        there = native | _union(known["dialect"].get(target, {}))
        lines.extend("     - %s" % _how(known["releases"], some, native, there)
                     for some in series.values())
    return "\n".join(lines) + "\n"


def _union(values):
    found = 0
    for some in values.values():
        found |= some
    return found


def _how(names, positions, native, there):
    """Return how a function runs in the releases of a series."""
    run = [position for position in positions if native >> position & 1]
    if len(run) == len(positions):
        return "native"
    if run:
        return "native in " + ", ".join(names[position] for position in run)
    return "dialect" if any(
        there >> position & 1 for position in positions) else "--"
