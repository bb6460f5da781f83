# SPDX-License-Identifier: Apache-2.0
"""Writes ``nova_kvs/cmd/completions/nova-kvs``, which completes words in bash.

It is made of the parser itself, once, so that a Tab does not start Python::

    python -m nova_kvs.cmd.completion
"""

import argparse
import pathlib

from nova_kvs.cmd import main

TARGET = pathlib.Path(__file__).parent / "completions" / "nova-kvs"
#: An argument that is called so in the help texts is a path.
PATHS = ("FILE", "DIR")

_SCRIPT = """\
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion of nova-kvs. Made by nova_kvs/cmd/completion.py: change that.

_nova_kvs()
{
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local words
    # bash takes --option=value for three words.
    if [[ $current == = ]]; then
        current=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        words="%(first)s"
    else
        case "${COMP_WORDS[1]} $before" in
            %(paths)s)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                return ;;
            %(values)s)
                return ;;
        esac
        case ${COMP_WORDS[1]} in
            %(commands)s
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _nova_kvs nova-kvs
"""


def script(parser):
    """Return the text of the file.

    :param parser: what ``nova_kvs.cmd.main.build_parser`` returns.
    """
    (choices,) = (action.choices for action in parser._actions
                  if isinstance(action, argparse._SubParsersAction))
    paths, values, commands = [], [], []
    for name, command in sorted(choices.items()):
        words = []
        for action in command._actions:
            words += action.option_strings
            if action.nargs != 0:
                (paths if action.metavar in PATHS else values).extend(
                    '"%s %s"' % (name, option)
                    for option in action.option_strings)
        commands.append('%s) words="%s" ;;' % (name, " ".join(words)))
    return _SCRIPT % {
        "first": " ".join([*sorted(choices), "-h", "--help", "--version"]),
        "paths": " | \\\n            ".join(paths),
        "values": " | \\\n            ".join(values),
        "commands": "\n            ".join(commands)}


if __name__ == "__main__":
    TARGET.write_text(script(main.build_parser()))
