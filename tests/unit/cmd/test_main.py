# SPDX-License-Identifier: Apache-2.0
import argparse
import subprocess
import sys

import pytest

from nova_kvs.cmd import demo
from nova_kvs.cmd import main
from nova_kvs import exceptions


def one_line(text):
    assert text.count("\n") == 1
    return text


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["--help"])
    assert stop.value.code == 0
    assert "boot servers" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"]])
def test_wrong_usage_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2
    assert "error:" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("error, status", [
    (exceptions.ConfigurationError(), 2),
    (exceptions.StoreUnavailableError(), 1),
    (KeyboardInterrupt(), 130),
])
def test_errors_become_a_status(error, status, monkeypatch, capsys):
    def run(args):
        raise error

    monkeypatch.setattr(demo, "run", run)
    assert main.main(["demo"]) == status
    if status != 130:
        assert str(error) in one_line(capsys.readouterr().err)


def test_status_of_the_command_is_returned(monkeypatch):
    monkeypatch.setattr(demo, "run", lambda args: args.servers)
    assert main.main(["demo", "--servers", "7"]) == 7


def test_reader_that_leaves():
    done = subprocess.run(
        ["sh", "-c", '"$0" -m nova_kvs.cmd.main demo --help | true',
         sys.executable], stderr=subprocess.PIPE, timeout=60)
    assert b"Traceback" not in done.stderr


def test_import_is_cheap():
    """Building the help text must not import Nova or a driver."""
    code = ("import sys; from nova_kvs.cmd import main; main.build_parser();"
            "print([n for n in ('nova', 'sqlalchemy', 'redis')"
            " if n in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], timeout=60,
                          stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_without_parser_are_not_commands():
    parser = main.build_parser()
    actions = [action for action in parser._actions
               if isinstance(action, argparse._SubParsersAction)]
    assert "main" not in actions[0].choices
    assert "demo" in actions[0].choices
