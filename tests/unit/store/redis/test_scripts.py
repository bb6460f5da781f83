# SPDX-License-Identifier: Apache-2.0
import hashlib
import importlib
import sys

import pytest

from nova_kvs.store.redis import scripts


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Yield a function that adds a script to a package made for the test."""
    root = tmp_path / "kvs_scripts_package"
    (root / "lua").mkdir(parents=True)
    (root / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()

    def add(name, source):
        (root / "lua" / (name + ".lua")).write_text(source)
        return root.name

    yield add
    sys.modules.pop(root.name, None)
    scripts.load.cache_clear()


@pytest.mark.parametrize(("header", "writes"), [
    ("-- x.lua: what it does.\n-- Writes.\n", True),
    ("-- x.lua: what it does.\n-- Reads. Returns a list.\n", False),
    ("-- reads: KEYS[1]\n", False),
])
def test_load_reads_source_digest_and_header(package, header, writes):
    source = header + "return 1\n"
    script = scripts.load(package("x", source), "x")
    assert script.name == "x"
    assert script.source == source.encode()
    assert script.sha == hashlib.sha1(source.encode()).hexdigest().encode()
    assert script.writes is writes


def test_a_script_must_say_whether_it_writes(package):
    name = package("silent", "-- silent.lua: nothing.\nreturn 1 -- Writes.\n")
    with pytest.raises(ValueError, match="silent.lua"):
        scripts.load(name, "silent")


def test_a_missing_script_is_an_error(package):
    with pytest.raises(FileNotFoundError):
        scripts.load(package("x", "-- Reads.\n"), "y")
