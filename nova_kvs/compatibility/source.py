# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of functions, made of source files that are not imported.

A function's fingerprint covers its own source and that of every function
and constant of its package that it reaches by name, because the native
function stands for all of them. Docstrings, comments, annotations and the
layout do not count. Of a model its relationships and properties count, not
its columns, which are read from the model itself. Other classes do not:
their methods are called, not replaced.
"""

import ast
import gc
import hashlib
import pathlib
import typing

#: Packages whose functions are hashed when a function reaches them.
HASHED = ("nova.db", "nova.objects", "nova.block_device", "placement")
#: Packages in which a patch of a function that is reached has its effect.
WATCHED = ("nova", "oslo_db", "placement", "sqlalchemy")

#: Function -> methods that it calls, to which no name leads, and for which
#: its native function stands as well.
METHODS = {target: (
    "placement.objects.consumer:Consumer.create",
    "placement.objects.consumer:Consumer.get_by_uuid",
    "placement.objects.consumer:Consumer.increment_generation",
    "placement.objects.consumer:Consumer.update",
    "placement.objects.project:Project.create",
    "placement.objects.resource_provider:ResourceProvider.get_by_uuid",
    "placement.objects.resource_provider:"
    "ResourceProvider.increment_generation",
    "placement.objects.user:User.create",
) for target in (
    "placement.handlers.allocation:_set_allocations_for_consumer",
    "placement.handlers.allocation:set_allocations")}

_OWN = ("nova", "placement")
_MODELS = ".models"
_COLUMNS = frozenset(("Column", "deferred"))
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCUMENTED = frozenset((*_FUNCTIONS, ast.ClassDef))
# Fields that say nothing of what a function does, or that only some
# releases of Python have.
_SKIPPED = frozenset((
    "annotation", "ctx", "kind", "returns", "simple", "type_comment",
    "type_params"))


class Reference(typing.NamedTuple):
    """A name that a piece of source looks up."""

    #: Module in which it is looked up when the code runs, and the name.
    space: str
    name: str
    #: "module:qualified name" of what it means, if that is to be hashed.
    meaning: str | None = None
    #: False in a decorator, which is only called while modules load.
    is_late: bool = True


def _is_in(module, packages):
    return any(module == package or module.startswith(package + ".")
               for package in packages)


def _describe(node, parts, names, is_late):
    """Describe a node by what determines its meaning.

    :param parts: list that the description is appended to, as text.
    :param names: list that each Name and Attribute is appended to, as
        (node, is_late); ``is_late`` is False in a decorator.
    """
    kind = type(node)
    if kind is ast.AnnAssign:
        if node.value is None:
            return
        node = ast.Assign([node.target], node.value)
        kind = ast.Assign
    if kind is ast.Name or kind is ast.Attribute:
        names.append((node, is_late))
    parts.append("(" + kind.__name__)
    for field in node._fields:
        value = getattr(node, field, None)
        # Some releases of Python leave out what is empty.
        if value is None or field in _SKIPPED or value == []:
            continue
        parts.append(" %s=" % field)
        if isinstance(value, list):
            late = is_late and field != "decorator_list"
            if field == "body" and kind in _DOCUMENTED:
                value = _without_docstring(value)
            for item in value:
                if isinstance(item, ast.AST):
                    _describe(item, parts, names, late)
                else:
                    parts.append(repr(item))
        elif isinstance(value, ast.AST):
            _describe(value, parts, names, is_late)
        else:
            parts.append(repr(value))
    parts.append(")")


def _without_docstring(body):
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(
            first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:]
    return body


def _name_of(node):
    return getattr(node, "attr", getattr(node, "id", ""))


def _without_columns(node):
    """Return a model's class without its columns, keys and indexes."""
    body = [item for item in node.body if not (
        isinstance(item, ast.Assign) and (
            _name_of(item.targets[0]).startswith("__")
            or _name_of(getattr(item.value, "func", None)) in _COLUMNS))]
    return ast.ClassDef(node.name, node.bases, [], body, [])


class Module:
    """One parsed source file."""

    def __init__(self, name, text, is_package):
        self.name = name
        #: Name -> function, class or assignment at the top level.
        self.definitions = {}
        #: Name -> (module, attribute), or (module, None) for a module.
        self.imports = {}
        self._is_package = is_package
        was_enabled = gc.isenabled()
        # A collection while a file is parsed takes longer than that.
        gc.disable()
        try:
            tree = ast.parse(text)
        finally:
            if was_enabled:
                gc.enable()
        for node in _statements(tree.body):
            self._note(node)

    def _note(self, node):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            self.definitions[node.name] = node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    self.imports[alias.asname] = alias.name, None
                else:
                    top = alias.name.partition(".")[0]
                    self.imports[top] = top, None
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = self.name.split(".")
                depth = node.level - self._is_package
                parents = parents[:len(parents) - depth]
                origin = ".".join([*parents, *filter(None, [origin])])
            for alias in node.names:
                self.imports[alias.asname or alias.name] = origin, alias.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = (node.targets if isinstance(node, ast.Assign)
                       else [node.target])
            for target in targets:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name) and isinstance(
                            part.ctx, ast.Store):
                        self.definitions[part.id] = node

    def find(self, qualified):
        """Return the node of a function, method or constant, or None."""
        first, *rest = qualified.split(".")
        node = self.definitions.get(first)
        for name in rest:
            if not isinstance(node, ast.ClassDef):
                return None
            found = None
            for member in _statements(node.body):
                if isinstance(member, (*_FUNCTIONS, ast.ClassDef)) and (
                        member.name == name):
                    found = member
            node = found
        return node


def _statements(body):
    """Yield the statements of a body, those under if and try included."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            for name in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, name, ()))
            for handler in getattr(node, "handlers", ()):
                yield from _statements(handler.body)


class Tree:
    """The source files of a package: installed, or unpacked somewhere.

    :param root: directory that holds the package's own directory.
    """

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self._modules = {}
        self._definitions = {}

    def path(self, module):
        """Return the file of a module, or None if there is none."""
        base = self.root.joinpath(*module.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
        return None

    def digest(self, module):
        """Return a digest of a module's file; "" if there is none."""
        path = self.path(module)
        if path is None:
            return ""
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def module(self, name):
        """Return the Module of a name, or None.

        :raises SyntaxError: if it is not Python, or of a later one.
        """
        if name not in self._modules:
            path = self.path(name)
            self._modules[name] = None if path is None else Module(
                name, path.read_text(encoding="utf-8"),
                path.name == "__init__.py")
        return self._modules[name]

    def find(self, target):
        """Return the node of a "module:qualified name", or None."""
        name, _colon, qualified = target.partition(":")
        module = self.module(name)
        return None if module is None else module.find(qualified)

    def parameters(self, target):
        """Return the names of a function's parameters, or None."""
        node = self.find(target)
        if not isinstance(node, _FUNCTIONS):
            return None
        arguments = node.args
        return [argument.arg for argument in (
            *arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs,
            *filter(None, (arguments.vararg, arguments.kwarg)))]

    # Names ------------------------------------------------------------------

    def _read(self, target):
        """Return (digest, References) of the source of a target."""
        found = self._definitions.get(target)
        if found is None:
            parts, names, references = [], [], {}
            node = self.find(target)
            if isinstance(node, ast.ClassDef):
                node = _without_columns(node)
            if node is not None:
                _describe(node, parts, names, True)
            name, _colon, qualified = target.partition(":")
            owner = qualified.rpartition(".")[0]
            for part, is_late in names:
                reference = self._reference(self.module(name), owner, part)
                if reference is not None:
                    references[reference._replace(is_late=is_late)] = None
            for method in METHODS.get(target, ()):
                space, _colon, name = method.partition(":")
                references[Reference(space, name, method)] = None
            found = self._definitions[target] = (
                hashlib.sha256("".join(parts).encode()).hexdigest(),
                tuple(references))
        return found

    def references(self, target):
        """Return the References that the source of a target makes."""
        return self._read(target)[1]

    def _reference(self, module, owner, node):
        if isinstance(node, ast.Name):
            if node.id in module.definitions:
                return Reference(module.name, node.id, self._hashed(
                    module.name, node.id))
            origin = module.imports.get(node.id)
            if origin is None or origin[1] is None or self.path(
                    ".".join(origin)) is not None:
                return None
            return Reference(module.name, node.id, self._hashed(*origin))
        if not isinstance(node, ast.Attribute):
            return None
        base = node.value
        if isinstance(base, ast.Name) and owner:
            if base.id in ("self", "cls", owner):
                qualified = "%s.%s" % (owner, node.attr)
                meaning = self._hashed(module.name, qualified)
                return meaning and Reference(
                    module.name, qualified, meaning)
        space = self._module_of(module, base)
        if space is None or not _is_in(space, WATCHED) or (
                # A class, or what another package has.
                _is_in(space, _OWN) and self.path(space) is None):
            return None
        return Reference(space, node.attr, self._hashed(space, node.attr))

    def _module_of(self, module, node):
        """Return the name of the module that an expression is, or None."""
        if isinstance(node, ast.Attribute):
            base = self._module_of(module, node.value)
            return base and "%s.%s" % (base, node.attr)
        if not isinstance(node, ast.Name) or (
                node.id not in module.imports):
            return None
        return ".".join(filter(None, module.imports[node.id]))

    def _hashed(self, name, qualified):
        """Return what a name means, if its source is to be hashed."""
        if not _is_in(name, HASHED):
            return None
        target = "%s:%s" % (name, qualified)
        node = self.find(target)
        if node is None or (isinstance(node, ast.ClassDef)
                            and not name.endswith(_MODELS)):
            return None
        return target

    # Fingerprints -----------------------------------------------------------

    def closure(self, target):
        """Return the targets that a fingerprint covers, sorted."""
        found = {target}
        left = [target]
        while left:
            for reference in self.references(left.pop()):
                if reference.meaning not in found and reference.meaning:
                    found.add(reference.meaning)
                    left.append(reference.meaning)
        return sorted(found)

    def fingerprint(self, target):
        """Return a function's fingerprint; None if there is no function."""
        if self.find(target) is None:
            return None
        digest = hashlib.sha256()
        for name in self.closure(target):
            digest.update(("%s %s\n" % (name, self._read(name)[0])).encode())
        return digest.hexdigest()[:12]
