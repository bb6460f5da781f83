# SPDX-License-Identifier: Apache-2.0
"""Checks of what contributors are told to type.

Much of it runs for minutes or hours, in environments of its own. There it is
checked that the environment exists and that what it would run accepts the
arguments; the programs themselves say so.
"""

import fnmatch
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

from tests.functional.documentation import accepting
from tests.functional.documentation import blocks

_TIMEOUT_S = 120
_MODULES = {"nova-kvs": "nova_kvs.cmd.main"}


@functools.cache
def _tox(*arguments):
    """Return what ``tox config`` prints, name of a setting -> lines."""
    done = subprocess.run(
        [sys.executable, "-m", "tox", "config", "--colored", "no",
         *arguments], cwd=blocks.ROOT, capture_output=True, text=True,
        timeout=_TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    # After the environment's name: "key = value", or "key =" and lines.
    settings = done.stdout.partition("\n")[2]
    return {
        name: [line.strip() for line in value.strip().splitlines()]
        for name, value in re.findall(
            r"^(\w+) =(.*(?:\n .*)*)", settings, re.MULTILINE)}


def check_tox(lab, literals):
    """The environment exists and its programs accept the arguments."""
    for literal in literals:
        for command in literal.commands():
            words = shlex.split(command, comments=True)
            variables = []
            while "=" in words[0]:
                variables.append(words.pop(0).partition("=")[0])
            if words[:2] == ["pipx", "run"]:
                del words[:2]
            assert words[0] == "tox", command
            if words[1:] == ["-av"]:
                continue
            assert words[1] == "-e", command
            _check_environment(words[2], words[3:], variables)


def _check_environment(name, rest, variables):
    assert not rest or rest[0] == "--", rest
    arguments = rest[1:]
    settings = _tox("-e", name, "-k", "commands", "pass_env", *rest)
    for variable in variables:
        assert any(fnmatch.fnmatch(variable, pattern)
                   for pattern in settings["pass_env"]), variable
    if arguments:
        ran = [words for words in map(shlex.split, settings["commands"])
               if words[-len(arguments):] == arguments]
        assert ran, "tox -e %s takes no arguments" % name
        for words in ran:
            _check_program(words)


def _check_program(words):
    program, arguments = words[0], words[1:]
    if program == "pytest":
        output = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q",
             *arguments], cwd=blocks.ROOT, capture_output=True, text=True,
            timeout=_TIMEOUT_S)
        assert output.returncode == 0, output.stdout + output.stderr
    elif program == "bats":
        # It is not among what these tests need.
        assert arguments[0] == "-f", arguments
        files = (blocks.ROOT / arguments[2]).glob("*.bats")
        names = re.findall('^@test "(.*)"', "".join(
            file.read_text() for file in files), re.MULTILINE)
        assert [name for name in names if re.search(arguments[1], name)]
    else:
        _check_accepted([words])


def check_programs(lab, literals):
    """The program accepts the arguments."""
    _check_accepted([
        shlex.split(command, comments=True)
        for literal in literals for command in literal.commands()])


def _check_accepted(commands):
    lines = []
    for words in commands:
        if words[:2] == ["python", "-m"]:
            words = words[2:]
        else:
            words = [_MODULES[words[0]], *words[1:]]
        if ">" in words:
            words = words[:words.index(">")]
        lines.append(words)
    for words, error in zip(lines, accepting.rejected(lines)):
        assert not error, "%s: %s" % (" ".join(words), error)


def check_syntax(lab, literals):
    """The script is one that bash can read. It runs for half an hour."""
    for literal in literals:
        program, path = literal.text.split()
        subprocess.run([program, "-n", path], cwd=blocks.ROOT, check=True,
                       timeout=_TIMEOUT_S)


def check_packages(lab, literals):
    """Bash can read it, and CI installs the packages.

    Not run: it changes the machine, as root.
    """
    script = (blocks.ROOT / ".ci/run").read_text()
    packages = re.search(r"^PACKAGES=\((.*?)\)", script, re.M | re.S)[1]
    for literal in literals:
        subprocess.run(["bash", "-n"], input=literal.text.encode(),
                       check=True, timeout=_TIMEOUT_S)
        for command in literal.commands():
            words = command.split()
            if words[:2] == ["apt-get", "install"]:
                assert set(words[2:]) <= set(packages.split()), command
            else:
                assert words[:3] == ["systemctl", "disable", "--now"]


def check_pip(lab, literals):
    """pip installs a copy of the tree, and the program is there.

    Into a directory of its own and without what it depends on.
    """
    clone = lab.home("operator") / "clone"
    clone.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "README.rst", "LICENSE"):
        shutil.copy(blocks.ROOT / name, clone)
    shutil.copytree(blocks.ROOT / "nova_kvs", clone / "nova_kvs",
                    ignore=shutil.ignore_patterns("__pycache__"))
    target = lab.home("operator") / "installed"
    for literal in literals:
        for command in literal.commands():
            lab.run(lab.fill_in(command), PBR_VERSION="1.2.3",
                    PIP_TARGET=str(target), PIP_NO_DEPS="1",
                    # pip takes no for an answer to "no isolation?" as yes.
                    PIP_NO_BUILD_ISOLATION="0")
    assert os.access(target / "bin/nova-kvs", os.X_OK)


def check_localrc(lab, literals):
    """Bash reads it, and the plugin has the name that it enables.

    The branch is given: DevStack would take master.
    """
    name = re.search(r"^define_plugin (\S+)$", (
        blocks.ROOT / "devstack/settings").read_text(), re.MULTILINE)[1]
    for literal in literals:
        section, _, text = literal.text.partition("\n")
        assert section == "[[local|localrc]]"
        output = lab.run("enable_plugin() { echo $1:$3; }\n" + text)
        assert output == "%s:main\n" % name


def check_completion(lab, literals):
    """Bash reads it, and completes the program's words then."""
    for literal in literals:
        output = lab.run(lab.fill_in(literal.text) + "\ncomplete -p nova-kvs")
        assert output.strip().endswith(" nova-kvs"), output


def check_extras(lab, literals):
    """The package has the extra. Not run: it would change the environment."""
    with open(blocks.ROOT / "pyproject.toml", "rb") as stream:
        extras = tomllib.load(stream)["project"]["optional-dependencies"]
    for literal in literals:
        name = re.fullmatch(r"pip install nova-kvs\[(\w+)\]", literal.text)[1]
        assert name in extras


def check_elsewhere(lab, literals):
    """Nothing: another test runs it, or it is another project's program."""
