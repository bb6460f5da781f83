# SPDX-License-Identifier: Apache-2.0
import argparse
from importlib import metadata
import io
import json
import subprocess
import sys
import uuid

from oslo_config import cfg
import pytest

from nova_kvs.cmd import console
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


def test_without_a_command_the_help_is_shown(capsys):
    assert main.main([]) == 2
    assert "boot servers" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == "nova-kvs %s\n" % (
        metadata.version("nova-kvs"))


def test_errors_are_json_for_who_asks_for_it(capsys):
    assert main.main(["check", "--json", "nonsense"]) == 2
    out, error = capsys.readouterr()
    assert json.loads(out)["error"] in one_line(error)


def test_wrong_usage_is_json_for_who_asks_for_it(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["show", "--json", "kvs+memory:///x", "nonsense"])
    assert stop.value.code == 2
    out, error = capsys.readouterr()
    assert "not a UUID" in json.loads(out)["error"]
    assert json.loads(out)["error"] in one_line(error)


@pytest.mark.parametrize("command", [
    ["stats"], ["fsck"], ["show", str(uuid.uuid4())]])
def test_the_name_of_no_database_is_an_error(command, capsys):
    name, *arguments = command
    assert main.main([name, "kvs+memory:///mistyped", *arguments]) == 2
    error = one_line(capsys.readouterr().err)
    assert "no database of this name" in error
    assert "mistyped" in error


def test_a_database_of_no_name_is_not_exported(capsys, tmp_path):
    assert main.main(["export", "--from", "kvs+memory:///mistyped", "--to",
                      "sqlite:///%s" % (tmp_path / "x.db")]) == 2
    assert "no database of this name" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"]])
def test_wrong_usage_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2
    assert "error:" in one_line(capsys.readouterr().err)


def test_interrupt_becomes_a_status(monkeypatch):
    def run(args):
        raise KeyboardInterrupt()

    monkeypatch.setattr(demo, "run", run)
    assert main.main(["demo"]) == 130


@pytest.mark.parametrize("error", [
    exceptions.StoreUnavailableError(), OSError("no space"),
    cfg.ConfigFileValueError("no number"),
    UnicodeEncodeError("utf-8", "a", 0, 1, "no text")])
def test_errors_find_nothing_out(error, capsys):
    @console.command
    def run(args):
        raise error

    assert run(argparse.Namespace(config_file=[])) == 2
    assert str(error) in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_configuration_that_is_no_text(content, tmp_path, capsys):
    path = tmp_path / "nova.conf"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert main.main(["check", "kvs+memory:///x", "--config-file",
                      str(path)]) == 2
    assert "not valid" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("output, status", [
    (">/dev/full", 2), (">&-", 0)])
def test_output_that_cannot_be_written(output, status):
    done = subprocess.run(
        ["sh", "-c", '"$0" -m nova_kvs.cmd.main drop '
         "kvs+memory:///x --yes x " + output,
         sys.executable], stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


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


def test_progress_tells_the_time_that_is_left(monkeypatch):
    stream = io.StringIO()
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress = console.Progress(stream)
    # Of a copy that goes on.
    progress.step("copying instances", 400, 2000)
    now[0] += 20
    progress.step("copying instances", 800, 2000)
    now[0] += 1
    progress.step("copying instances", 1000, 2000)
    now[0] += 20
    progress.step("restoring", 1500, None)
    assert stream.getvalue() == (
        "[20 s] copying instances: 40 % of 2000 rows, about 60 s left\n"
        "[41 s] restoring: 1500 rows\n")
