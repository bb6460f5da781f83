# SPDX-License-Identifier: Apache-2.0
"""The completion for bash: made of the parser, and run by bash."""

import subprocess

import pytest

from nova_kvs.cmd import completion
from nova_kvs.cmd import main

COMMANDS = ["backup", "check", "demo", "drop", "explain", "export",
            "exporter", "fsck", "import", "plan", "restore", "show", "stats",
            "top", "upgrade"]

#: Does what bash does at a Tab: the last argument is the word at the cursor.
_BASH = """
source "$1"
[[ $(complete -p nova-kvs) == "complete -F _nova_kvs nova-kvs" ]] || exit 9
shift
COMP_WORDS=(nova-kvs "$@")
COMP_CWORD=$#
_nova_kvs nova-kvs
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(*words, directory=None):
    """Return what bash offers for the last word."""
    done = subprocess.run(
        ["bash", "--norc", "-c", _BASH, "bash",
         str(completion.TARGET), *words],
        cwd=directory, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_the_file_is_made_of_the_parser_that_there_is():
    assert completion.TARGET.read_text() == completion.script(
        main.build_parser()), "run python -m nova_kvs.cmd.completion"


@pytest.mark.parametrize("words, offered", [
    ([""], COMMANDS + ["-h", "--help", "--version"]),
    (["s"], ["show", "stats"]),
    (["check", "--j"], ["--json"]),
    (["import", "--dry-run", "--"], [
        "--help", "--from", "--to", "--database", "--yes", "--pre-copy",
        "--all", "--replace", "--dry-run", "--config-file", "--json"]),
    # A value that nobody knows.
    (["drop", "--name", ""], []),
    (["import", "--from", "="], []),
    (["nonsense", "--"], []),
    # A flag is followed by anything, an option of the same name by a path.
    (["show", "--json", "--c"], ["--config-file"]),
])
def test_words(words, offered):
    assert complete(*words) == offered


@pytest.mark.parametrize("words", [
    ["check", "--config-file", ""], ["check", "--config-file", "no"],
    ["check", "--config-file", "="], ["check", "--config-file", "=", "no"],
    ["demo", "--json", "n"], ["fsck", "--quarantine", "n"]])
def test_paths(words, tmp_path):
    (tmp_path / "nova.conf").write_text("")
    assert complete(*words, directory=tmp_path) == ["nova.conf"]
