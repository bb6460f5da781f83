# SPDX-License-Identifier: Apache-2.0
"""What the documentation has to say, compared with the code."""

import pathlib
import re

import pytest

from nova_kvs import exceptions

ROOT = pathlib.Path(__file__).resolve().parents[2]


def errors(cls=exceptions.KVSError):
    yield cls
    for child in cls.__subclasses__():
        yield from errors(child)


@pytest.mark.parametrize("cls", list(errors()), ids=lambda cls: cls.__name__)
def test_every_error_is_in_the_troubleshooting_page(cls):
    page = (ROOT / "doc/source/admin/troubleshooting.rst").read_text()
    headings = re.findall(r"^``(.+)``$", page, re.MULTILINE)
    assert any(cls.message.startswith(text) for text in headings)


def test_the_readme_is_short_and_starts_with_the_two_commands():
    text = (ROOT / "README.rst").read_text()
    assert len(text.splitlines()) <= 180
    commands = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    assert commands[:2] == ["pipx run tox -e demo", "pipx run tox -e py3"]


def test_every_tox_environment_of_the_testing_page_exists():
    page = (ROOT / "doc/source/contributor/testing.rst").read_text()
    table = page.partition("==\npy3")[2].partition("\n==")[0]
    named = set(re.findall(r"^([a-z][\w-]+)", "py3" + table, re.MULTILINE))
    tox = (ROOT / "tox.ini").read_text()
    defined = set(re.findall(r"^\[testenv:([^]{}]+)\]", tox, re.MULTILINE))
    assert len(named) > 10
    # py3 is the plain one; the releases of Nova share one section, and so do
    # the other services.
    assert named - defined <= {"py3", "nova-db", "nova31-db", "glance-db"}
