# SPDX-License-Identifier: Apache-2.0
"""What the documentation shows literally, as docutils reads it."""

import functools
import os
import pathlib
import re
import typing

from docutils import core
from docutils import nodes
from docutils.parsers import rst
from docutils.parsers.rst import directives
from docutils.parsers.rst import roles

ROOT = pathlib.Path(__file__).resolve().parents[3]
#: Directives and roles that only Sphinx and our own extensions know.
_DIRECTIVES = ("toctree", "commands", "show-options")
_ROLES = ("doc", "download", "ref")


class Literal(typing.NamedTuple):
    """A literal block, or a literal within a paragraph."""

    #: Path below the root of the file that it is written in.
    document: str
    text: str

    def commands(self):
        """Return the command lines: no prompts, comments or broken lines."""
        text = re.sub(r"\\\n\s*", "", self.text)
        lines = [line.removeprefix("$ ") for line in text.splitlines()]
        return [line for line in lines
                if line.strip() and not line.startswith("#")]


class _Ignored(rst.Directive):
    optional_arguments = 100
    has_content = True

    def run(self):
        return []


@functools.cache
def _trees():
    """Return path -> document tree of every page."""
    for name in _DIRECTIVES:
        directives.register_directive(name, _Ignored)
    for name in _ROLES:
        roles.register_generic_role(name, nodes.inline)
    pages = [ROOT / "README.rst", ROOT / "devstack/README.rst",
             *sorted((ROOT / "doc/source").rglob("*.rst"))]
    # What is wrong with a page fails, as it does in Sphinx with -W.
    settings = {"report_level": 2, "halt_level": 2}
    return {
        str(page.relative_to(ROOT)): core.publish_doctree(
            page.read_text(), source_path=str(page),
            settings_overrides=settings)
        for page in pages}


@functools.cache
def blocks():
    """Return the literal blocks of all pages, included ones once."""
    return list(dict.fromkeys(
        Literal(os.path.relpath(_source(node), ROOT), node.astext())
        for tree in _trees().values()
        for node in tree.findall(nodes.literal_block)))


def _source(node):
    """Return the path of the file that a node is written in."""
    # docutils does not say it of a block with a language.
    while not node.source:
        node = node.parent
    return node.source


@functools.cache
def inline():
    """Return the literals in running text, on one line each."""
    return list(dict.fromkeys(
        Literal(document, " ".join(node.astext().split()))
        for document, tree in _trees().items()
        for node in tree.findall(nodes.literal)))


def first_column(document):
    """Return the literals in the first columns of a page's tables."""
    return [
        literal.astext() for row in _trees()[document].findall(nodes.row)
        for literal in row[0].findall(nodes.literal)]
