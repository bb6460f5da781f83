# SPDX-License-Identifier: Apache-2.0
"""Puts the native functions in front of Nova's.

Nova's functions are attributes of modules and classes and are looked up at
each call, so replacing the attribute reaches every caller. What stands there
afterwards decides at each call: a context whose database is not a KVS one,
or that has a transaction open, gets Nova's function as it was.
"""

import functools
import inspect
import sys

from nova.db.main import api as main_db_api
import nova.objects

from nova_kvs.db import native
from nova_kvs.db import overrides
from nova_kvs.db import selection as selections

#: Modules whose import fills ``native.REGISTRY``.
MODULES = (
    "actions", "aggregates", "archive", "block_devices", "build_requests",
    "cell_mappings", "compute_nodes", "console_tokens", "flavors",
    "host_mappings", "instance_details", "instance_groups", "instance_list",
    "instance_mappings", "instances", "key_pairs", "migrations",
    "miscellaneous", "pci_devices", "quotas", "quota_limits",
    "request_specs", "security_groups", "server_requests", "services",
    "share_mappings", "virtual_interfaces",
)

# Modules that every process of Nova has.
_ALWAYS = ("nova.db.", "nova.objects.")
#: Functions of nova.db.main.api that take a context and do not ask.
NO_QUERIES = ("get_context_manager", "get_engine", "model_query",
              "require_context")


selection = selections.Selection(
    "nova", ["nova_kvs.db." + name for name in MODULES], native.REGISTRY)


def load():
    """Import every native module that this release of Nova allows.

    :returns: dict of "module:qualified name" -> native function.
    """
    return selection.load()


def install(trusts=False):
    """Put the native functions in front of Nova's, once.

    :param trusts: whether to replace functions that are not known, too.
    :returns: number of functions that were replaced by this call.
    """
    if not selection.is_possible():
        return 0
    registry = load()
    nova.objects.register_all()
    found = []
    for target, function in registry.items():
        module = target.partition(":")[0]
        if not module.startswith(_ALWAYS):
            native.awaited.pop(module, None)
            if module not in sys.modules:
                # Not imported for our sake, and nova-api asks its databases
                # before it does so.
                native.awaited[module] = functools.partial(install, trusts)
                continue
        try:
            owner, name = native.lookup(target)
            current = getattr(owner, name)
        except (AttributeError, ImportError):
            # This release of Nova does not have it.
            continue
        if current is not function and selection.fits(
                target, current, trusts):
            found.append((owner, name, current, function))
    for owner, name, current, function in found:
        function.nova_original = current
        _replace(owner, name, function)
    if found:
        for target, function in registry.items():
            if hasattr(function, "nova_original"):
                function.nova_callees = overrides.watch(
                    selection.release, target)
    selection.tell(trusts)
    return len(found) + _replace_reader_modes()


def uninstall():
    """Take the native functions away again."""
    native.awaited.clear()
    for target, function in native.REGISTRY.items():
        nova_function = getattr(function, "nova_original", None)
        if nova_function is not None:
            _replace(*native.lookup(target), nova_function)
            del function.nova_original
            function.nova_callees = ()
    for owner, name, raw in _reader_modes():
        nova_original = getattr(_plain(raw), "nova_original", None)
        if nova_original is not None:
            setattr(owner, name, type(raw)(nova_original))


def _replace(owner, name, function):
    if inspect.isclass(owner):
        function = staticmethod(function)
    setattr(owner, name, function)


def _plain(raw):
    return raw.__func__ if isinstance(
        raw, (classmethod, staticmethod)) else raw


def _reader_mode_code():
    """Return the code that all of select_db_reader_mode's wrappers share.

    :returns: None if this Nova has no such decorator.
    """
    decorate = getattr(main_db_api, "select_db_reader_mode", None)
    if decorate is None:
        return None
    return getattr(decorate(lambda context: None), "__code__", None)


def _reader_modes():
    """Yield (class, name, method) of methods that choose a reader mode."""
    code = _reader_mode_code()
    if code is None:
        return
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith("nova.objects."):
            continue
        for klass in list(vars(module).values()):
            if not inspect.isclass(klass) or (
                    klass.__module__ != module_name):
                continue
            for name, raw in list(vars(klass).items()):
                function = _plain(raw)
                if not inspect.isfunction(function):
                    continue
                if function.__code__ is code or hasattr(
                        function, "reader_mode"):
                    yield klass, name, raw


def _replace_reader_modes():
    """Keep select_db_reader_mode from opening a transaction around us.

    Not where the method itself may ask the transaction's session.
    """
    replaced = 0
    for owner, name, raw in _reader_modes():
        function = _plain(raw)
        if hasattr(function, "reader_mode") or not (
                selection.release.asks_no_session("%s:%s.%s" % (
                    owner.__module__, owner.__qualname__, name))):
            continue
        setattr(owner, name, type(raw)(_without_transaction(function)))
        replaced += 1
    return replaced


def _without_transaction(function):
    inner = function.__wrapped__
    names = list(inspect.signature(inner).parameters)
    context_at = names.index("context")
    slave_at = (names.index("use_slave") if "use_slave" in names
                else len(names))

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        context = (args[context_at] if len(args) > context_at
                   else kwargs["context"])
        if native.main_database(context) is None:
            return function(*args, **kwargs)
        if kwargs.get("use_slave") or args[slave_at:slave_at + 1] == (True,):
            with native.reading_replica():
                return inner(*args, **kwargs)
        return inner(*args, **kwargs)

    wrapper.reader_mode = True
    wrapper.nova_original = function
    return wrapper


def coverage():
    """Return how each function of Nova's that asks a database runs.

    :returns: list of (function, "native" or "dialect"): those of
        nova.db.main.api, sorted, then the native ones in nova.objects.
    """
    registry = load()
    table = []
    for name, function in inspect.getmembers(main_db_api,
                                             inspect.isfunction):
        if name.startswith("_") or function.__name__ != name:
            continue
        if "context" in inspect.signature(function).parameters and (
                name not in NO_QUERIES):
            target = "%s:%s" % (native.MAIN, name)
            table.append(
                (name, "native" if target in registry else "dialect"))
    table.extend((target.removeprefix("nova."), "native")
                 for target in sorted(registry)
                 if not target.startswith(native.MAIN + ":"))
    return table


def table():
    """Return a table of functions and releases in reStructuredText."""
    return selections.table("nova", "nova.db.main.api:", "nova.")


def main():
    """Print the table."""
    print(table(), end="")


if __name__ == "__main__":
    main()
