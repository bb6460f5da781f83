# SPDX-License-Identifier: Apache-2.0
"""Every command, configuration and output in the documentation, tried.

docutils finds the literal blocks of all pages; ``catalogue`` says how each is
tested. Commands run on servers that are started here, with addresses and
paths from ``placeholders`` in the places of the documentation's.
"""

import pprint

import pytest

from nova_kvs.store import url as store_url
from tests.functional.documentation import blocks
from tests.functional.documentation import catalogue
from tests.functional.documentation import lab as labs
from tests.functional.documentation import operations
from tests.functional.documentation import procedures
from tests.functional.documentation import runbooks
from tests.functional.documentation import securing
from tests.functional.documentation import texts
from tests.functional.documentation import tools

#: Name in the catalogue -> function that takes the lab and the literals.
CHECKS = {
    name.removeprefix("check_"): check
    for module in (
        tools, texts, operations, procedures, runbooks, securing)
    for name, check in vars(module).items() if name.startswith("check_")}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with labs.Lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


def checks_of(block):
    """Return the names of the checks that the catalogue has for a block."""
    return [check for start, check in
            catalogue.BLOCKS.get(block.document, {}).items()
            if block.text.startswith(start)]


def is_command(literal):
    """Tell whether a literal in running text is a command, not a name."""
    program, _, rest = literal.text.partition(" ")
    return bool(rest) and program in catalogue.PROGRAMS


def check_of(literal):
    """Return the name of the check that an inline command has, or None."""
    return next((check for start, check in catalogue.INLINE.items()
                 if literal.text.startswith(start)), None)


def groups():
    """Return (page, check) -> blocks."""
    found = {}
    for block in blocks.blocks():
        for check in checks_of(block):
            found.setdefault((block.document, check), []).append(block)
    return found


def inline_groups():
    """Return check -> inline commands that no literal block has."""
    whole = " ".join(" ".join(block.text.split())
                     for block in blocks.blocks())
    found = {}
    for literal in blocks.inline():
        if is_command(literal) and literal.text not in whole:
            found.setdefault(check_of(literal), {})[literal.text] = literal
    return {check: list(each.values()) for check, each in found.items()}


def test_every_block_is_in_the_catalogue_once():
    other = {block: checks_of(block) for block in blocks.blocks()
             if len(checks_of(block)) != 1}
    assert not other, (
        "say in tests/functional/documentation/catalogue.py how these are "
        "tested (once): %s" % pprint.pformat(other))


def test_every_entry_of_the_catalogue_has_a_block():
    assert [(document, start)
            for document, starts in catalogue.BLOCKS.items()
            for start in starts
            if not any(block.document == document
                       and block.text.startswith(start)
                       for block in blocks.blocks())] == []


def test_every_command_in_running_text_is_in_the_catalogue():
    other = inline_groups().get(None, [])
    assert not other, (
        "say in tests/functional/documentation/catalogue.py how these are "
        "tested: %s" % pprint.pformat(other))


@pytest.mark.parametrize("url", texts.urls())
def test_urls(url):
    store_url.parse_url(url).settings()


# Before the blocks: one of those drops the database.
@pytest.mark.parametrize("check", [
    check for check in inline_groups() if check])
def test_running_text(lab, check):
    CHECKS[check](lab, inline_groups()[check])


@pytest.mark.parametrize("document, check", list(groups()))
def test_blocks(lab, document, check):
    CHECKS[check](lab, groups()[document, check])
