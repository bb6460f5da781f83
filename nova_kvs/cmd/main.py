# SPDX-License-Identifier: Apache-2.0
"""The command ``nova-kvs``: finds its sub-commands and runs one.

A sub-command is a module of this package with two functions::

    def add_parser(subparsers):  # returns subparsers.add_parser(...)
    def run(args):               # returns the exit status

Its module-level imports must be cheap, since every module is imported to
build the help text; whatever is heavy is imported in ``run``.
"""

import argparse
import importlib
import os
import pkgutil
import signal
import sys

from nova_kvs import cmd
from nova_kvs.cmd import console


class _Version(argparse.Action):
    """Print the version and end."""

    def __call__(self, parser, namespace, values, option_string=None):
        from importlib import metadata
        print("%s %s" % (parser.prog, metadata.version("nova-kvs")))
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage before it."""

    def error(self, message):
        print("%s: error: %s" % (self.prog, message), file=sys.stderr)
        raise _WrongUsage(message)


class _WrongUsage(SystemExit):
    """The arguments are wrong."""

    def __init__(self, message):
        super().__init__(2)
        self.message = message


def build_parser():
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="nova-kvs",
        description="Keep the state of OpenStack Nova in Redis.")
    parser.add_argument(
        "--version", action=_Version, nargs=0,
        help="print the version and exit")
    parser.set_defaults(run=None)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for info in pkgutil.iter_modules(cmd.__path__):
        module = importlib.import_module(
            "%s.%s" % (cmd.__name__, info.name))
        if hasattr(module, "add_parser"):
            module.add_parser(subparsers).set_defaults(run=module.run)
    return parser


def main(argv=None):
    """Run one sub-command.

    :param argv: arguments without the program's name; None for those of
        the process.
    :returns: the exit status: 0 success, 1 a warning about what was looked
        at, 2 an error in it, or nothing was found out, 128 plus the number
        of the signal that stopped it.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        parser = build_parser()
        args = parser.parse_args(argv)
        if args.run is None:
            parser.print_help()
            status = 2
        else:
            status = args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except _WrongUsage as error:
        if "--json" in argv:
            console.print_json({"error": error.message})
        raise
    except console.Terminated:
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        # What was printed could not be written: the disk is full.
        _discard_output()
        return console.fail(error)


def _discard_output():
    """Let nothing more be written, not even by the flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
