# SPDX-License-Identifier: Apache-2.0
"""What is known of the Nova and the Placement that are installed."""

import importlib.metadata
import importlib.util
import json
import pathlib
import shutil

import pytest

from nova_kvs.compatibility import releases
from nova_kvs.db import dispatch
from nova_kvs.db import fingerprint
from nova_kvs.db.placement import dispatch as placement_dispatch

REGISTRIES = {"nova": dispatch, "placement": placement_dispatch}
GET = "nova.db.main.api:instance_get_by_uuid"
HELPER = "def _instance_get_by_uuid("


def _root(package):
    spec = importlib.util.find_spec(package)
    return pathlib.Path(spec.submodule_search_locations[0]).parent


@pytest.fixture
def copy(tmp_path):
    """Return a function that copies what is known of Nova, and its Release.

    It takes the texts to replace in nova.db.main.api.
    """
    def copy(*changes):
        known = releases.load()["nova"]
        for module in known["modules"]:
            path = pathlib.Path(*module.split(".")).with_suffix(".py")
            if (_root("nova") / path).exists():
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(_root("nova") / path, tmp_path / path)
        path = tmp_path / "nova" / "db" / "main" / "api.py"
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        return releases.Release(known, tmp_path)

    return copy


@pytest.mark.parametrize("package", REGISTRIES)
def test_every_function_is_known(package):
    release = releases.installed(package)
    assert release.unknown() == []
    missing = [target for target in release.targets
               if not release.is_known(target)]
    assert not [target for target in missing if release.has(target)]


@pytest.mark.parametrize("package", REGISTRIES)
def test_the_data_is_of_the_native_functions(package):
    """Else run nova_kvs.db.fingerprint with every release's wheel."""
    known = releases.load()[package]
    assert set(known["functions"]) == set(REGISTRIES[package].load())
    newest = 1 << len(known["releases"]) - 1
    assert all(any(some & newest for some in found.values())
               for found in known["functions"].values())


@pytest.mark.parametrize("package", REGISTRIES)
def test_parsing_finds_what_the_files_digests_tell(package, monkeypatch):
    release = releases.Release(releases.load()[package], _root(package))
    monkeypatch.setattr(release._tree, "digest", lambda module: "changed")
    assert release.unknown() == []


def test_known_files_are_not_parsed(monkeypatch):
    release = releases.Release(releases.load()["nova"], _root("nova"))
    monkeypatch.setattr(
        release._tree, "module", lambda name: pytest.fail(name))
    assert release.is_known(GET)


def test_a_comment_makes_nothing_unknown(copy):
    assert copy((HELPER, "# Why.\n" + HELPER)).unknown() == []


def test_a_helper_that_changed(copy):
    release = copy((HELPER, "def _instance_get_by_uuid(changed, "))
    unknown = release.unknown()
    assert GET in unknown
    assert "nova.db.main.api:service_get" not in unknown
    assert len(unknown) < 40
    assert release.is_known("nova.db.main.api:service_get")


def test_a_function_that_went(copy):
    release = copy(("def s3_image_get(", "def image_get("))
    target = "nova.db.main.api:s3_image_get"
    assert not release.is_known(target) and not release.has(target)
    assert target not in release.unknown()


@pytest.mark.parametrize("text", ["def (:", "\0"])
def test_a_file_that_is_not_python(copy, text):
    release = copy()
    path = release._tree.path("nova.db.main.api")
    path.write_text(text)
    assert not release.is_known(GET)
    assert GET in release.unknown()


def test_no_sources(tmp_path):
    release = releases.Release(releases.load()["nova"], tmp_path)
    assert not release.is_known(GET)


def test_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(releases, "_installed", {})
    assert releases.installed("nova") is None


@pytest.mark.parametrize("package", REGISTRIES)
def test_the_data_is_made_again(package):
    """What is not given stays, and a release that is given is the same."""
    known = json.loads(releases.DATA.read_text())[package]
    made = fingerprint.Package(package, json.loads(json.dumps(known)))
    assert made.content() == known
    version = next(name for name in reversed(known["releases"])
                   if name.split(".")[0] == _version(package))
    made.add(version, _root(package))
    content = made.content()
    assert content["functions"] == known["functions"]
    assert content["releases"] == known["releases"]


def _version(package):
    return importlib.metadata.version(
        releases.PACKAGES[package]).split(".")[0]
