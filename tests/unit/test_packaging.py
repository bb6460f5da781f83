# SPDX-License-Identifier: Apache-2.0
"""What a user installs: the built wheel, listed."""

import configparser
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "nova_kvs"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the open wheel, built of a copy of the tree.

    A copy, so that no ``build`` directory of an earlier run adds to it; and
    without its git directory, from which pbr would add files by itself.
    """
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.cfg", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("nova_kvs", "tests", "benchmarks", "experiments"):
        shutil.copytree(ROOT / name, source / name,
                        ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-c",
         "import sys; from pbr import build; build.build_wheel(sys.argv[1])",
         str(target)],
        cwd=source, env=dict(os.environ, PBR_VERSION="1.2.3"),
        check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def on_disk(suffix):
    return {str(path.relative_to(ROOT))
            for path in PACKAGE.rglob("*" + suffix)}


def packed(wheel, suffix):
    return {name for name in wheel.namelist() if name.endswith(suffix)}


def test_the_wheel_holds_every_module_and_no_other(wheel):
    assert "nova_kvs/store/base.py" in packed(wheel, ".py")
    assert packed(wheel, ".py") == on_disk(".py")


def test_the_wheel_holds_all_files_of_data(wheel):
    assert "nova_kvs/store/redis/lua/commit.lua" in packed(wheel, ".lua")
    assert packed(wheel, ".lua") == on_disk(".lua")
    assert packed(wheel, ".json") == on_disk(".json") != set()


def test_every_directory_with_modules_is_a_package():
    directories = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [str(directory) for directory in sorted(directories)
            if not (directory / "__init__.py").exists()] == []


def test_every_entry_point_names_a_module_of_the_wheel(wheel):
    parser = configparser.ConfigParser(delimiters="=")
    (name,) = packed(wheel, "entry_points.txt")
    parser.read_string(wheel.read(name).decode())
    targets = [target for section in parser.sections()
               for target in parser[section].values()]
    modules = packed(wheel, ".py")
    missing = []
    for target in targets:
        path = target.partition(":")[0].replace(".", "/")
        if not {path + ".py", path + "/__init__.py"} & modules:
            missing.append(target)
    assert len(targets) > 10
    assert missing == []


def test_the_wheel_holds_what_bash_completes(wheel):
    (name,) = packed(
        wheel, ".data/data/share/bash-completion/completions/nova-kvs")
    assert wheel.read(name) == (
        ROOT / "nova_kvs/cmd/completions/nova-kvs").read_bytes()


def test_the_wheel_carries_the_licence(wheel):
    (name,) = packed(wheel, "LICENSE")
    assert b"Apache License" in wheel.read(name)


def test_every_file_starts_with_the_licence_line():
    comments = {".py": "#", ".lua": "--", ".rst": "..", ".toml": "#",
                ".cfg": "#", ".ini": "#", ".yaml": "#", ".bats": "#",
                ".bash": "#"}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True,
        text=True).stdout.split()
    lacking = []
    for name in listed:
        path = ROOT / name
        comment = comments.get(path.suffix)
        if comment is None or not path.exists():
            continue
        line = "%s SPDX-License-Identifier: Apache-2.0" % comment
        if line not in path.read_text().splitlines()[:2]:
            lacking.append(name)
    assert listed
    assert lacking == []
