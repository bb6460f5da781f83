# SPDX-License-Identifier: Apache-2.0
"""Options, errors and progress of the operators' commands."""

import argparse
import functools
import json
import os
import signal
import sys
import time

from nova_kvs import exceptions
from nova_kvs import wording

#: Where progress is written to a file: seconds between its lines.
SPARSE_S = 10
#: On a terminal, where one line is written over.
OFTEN_S = 0.2
_ERASE_LINE = "\r\x1b[K"


#: A URL in the environment: it may have a password, and others on the host
#: can read arguments.
_ENVIRONMENT = "env:"


def add_url(parser, name="url", **kwargs):
    """Add an argument that is a database's URL."""
    kwargs.setdefault("metavar", "URL")
    kwargs.setdefault(
        "help", "the database, as kvs+cluster://10.0.0.1:7000/nova_cell1; "
        "env:NAME takes the URL from the environment")
    parser.add_argument(name, type=_url, **kwargs)


def _url(text):
    if not text.startswith(_ENVIRONMENT):
        return text
    name = text.removeprefix(_ENVIRONMENT)
    if name not in os.environ:
        raise argparse.ArgumentTypeError(
            "the environment has no variable %s" % name)
    return os.environ[name]


def add_database(parser, name="url", is_several=False, **kwargs):
    """Add the ways to name a database: a URL, or its name in nova.conf.

    :param name: of the argument that is the URL.
    :param is_several: whether the command takes several, and all that
        nova.conf names if none is given.
    """
    add_url(parser, name, **(
        kwargs or {"nargs": "*" if is_several else "?"}))
    add_database_name(parser, is_several)


def add_database_name(parser, is_several=False):
    """Add the option that names a database as nova.conf does."""
    parser.add_argument(
        "--database", action="append" if is_several else "store",
        metavar="NAME", default=[] if is_several else None,
        help="the database that nova.conf and its cell mappings call so: "
        "api, main, cell0, cell:NAME or placement"
        + (". Can be repeated. Without it and a URL: all of them"
           if is_several else ""))


def intermix(parser):
    """Let options stand between a URL that may be left out and the rest."""
    parse = parser.parse_known_args
    state = []

    def parse_known_args(*args):
        if state:
            # parse_known_intermixed_args itself.
            return parse(*args)
        state.append(True)
        try:
            return parser.parse_known_intermixed_args(*args)
        finally:
            state.clear()

    parser.parse_known_args = parse_known_args


def chosen(args, name="url", option="a URL"):
    """Return the database that the arguments of ``add_database`` name.

    :param name: of the argument that is the URL.
    :param option: what else to say, for people.
    :returns: nova_kvs.store.url.StoreURL.
    :raises nova_kvs.exceptions.KVSError: if it is none, or not one.
    """
    from nova_kvs.inspection import configured
    from nova_kvs.store import registry
    url = getattr(args, name)
    if bool(url) == bool(args.database):
        raise exceptions.ConfigurationError(
            "name one database: with %s, or with --database (api, main, "
            "cell0, cell:NAME, placement)" % option)
    if url:
        return registry.parse_url(url)
    return configured.find(
        configured.load(args.config_file), args.database).url


def chosen_all(args):
    """Return the databases that the arguments name, or nova.conf's.

    :returns: list of nova_kvs.inspection.configured.Named, whose name is
        None for a URL, and of texts of what keeps one from being there.
    :raises nova_kvs.exceptions.KVSError: as ``chosen``.
    """
    from nova_kvs.inspection import configured
    from nova_kvs.store import registry
    found = [configured.Named(None, url, str(url))
             for url in map(registry.parse_url, args.url)]
    if found and not args.database:
        return found, []
    options = configured.load(args.config_file)
    if not args.database:
        return configured.find_all(options)
    return [*found, *[configured.find(options, name)
                      for name in args.database]], []


def add_common(parser, is_json=True):
    """Add the options that all of these commands have."""
    parser.add_argument(
        "--config-file", action="append", metavar="FILE", default=[],
        help="read this file (nova.conf, placement.conf): databases' names "
        "and, as the services do, the group [nova_kvs]: user, password, TLS, "
        "time-outs. Can be repeated")
    if is_json:
        parser.add_argument(
            "--json", action="store_true",
            help="print one JSON document")


def add_copy(parser):
    """Add the options of the commands that copy a database."""
    parser.add_argument(
        "--replace", action="store_true",
        help="remove the rows that the target has")
    parser.add_argument(
        "--dry-run", action="store_true",
        help="compare the schemas, count the rows and look for those that the "
        "target would refuse; change nothing")
    add_common(parser)


def add_metrics_directory(parser):
    """Add the option that names where the services write their metrics."""
    parser.add_argument(
        "--directory", metavar="DIR",
        help="the metrics_directory of the services (default: that of "
        "[nova_kvs] in nova.conf)")


def metrics_directory(args):
    """Return the directory where the services write their metrics.

    :raises nova_kvs.exceptions.ConfigurationError: if nobody names one.
    """
    from nova_kvs import conf
    from nova_kvs.inspection import configured
    if args.directory:
        return args.directory
    configured.load(args.config_file)
    found = conf.CONF[conf.GROUP].metrics_directory
    if not found:
        raise exceptions.ConfigurationError(
            "[nova_kvs] has no metrics_directory: set it for the services, "
            "or name it with --directory")
    return found


def command(run):
    """Make a command's ``run`` end with status 2 and one line on errors.

    A wrong argument, a store that does not answer and a database that
    cannot be read are the same to a script that calls: nothing was found
    out. The text is one line, without a password.
    """
    @functools.wraps(run)
    def guarded(args):
        from oslo_config import cfg
        try:
            _read_configuration(args.config_file)
            return run(args)
        except BrokenPipeError:
            # Whoever reads the output has seen enough.
            raise
        # oslo.config looks at an option's value when it is asked for.
        except (exceptions.KVSError, cfg.Error, OSError,
                UnicodeError) as error:
            return fail(error, getattr(args, "json", False))
    return guarded


def fail(error, is_json=False):
    """Print an error.

    :param is_json: whether to print a JSON document, too, for who reads the
        output.
    :returns: the exit status of a command that found nothing out.
    """
    if is_json:
        print_json({"error": one_line(error)})
    print("nova-kvs: error: %s" % one_line(error), file=sys.stderr)
    return 2


def confirm(name, database):
    """Let only those go on who have named what is about to be lost.

    :param name: what was given with --yes; None without it.
    :raises nova_kvs.exceptions.ConfigurationError: if it is not the
        database's name.
    """
    if name != database:
        raise exceptions.ConfigurationError(
            "this removes what is in the database: say --yes %s to go on; "
            "nothing was removed" % database)


def open_database(url):
    """Return the Database that a URL names.

    :raises nova_kvs.exceptions.ConfigurationError: if the store has none of
        this name: it is mistyped, or was never made.
    """
    from nova_kvs import record
    database = record.open_database(url)
    if not database.schema.version:
        raise exceptions.ConfigurationError(
            "the store has no database of this name",
            database=database.name)
    return database


def one_line(error):
    """Return the text of an error on one line."""
    return " ".join(str(error).split())


def _read_configuration(files):
    """Load the options of configuration files.

    :raises nova_kvs.exceptions.ConfigurationError: if that fails.
    """
    from nova_kvs import conf
    from oslo_config import cfg
    for path in files:
        if not os.access(path, os.R_OK):
            raise exceptions.ConfigurationError(
                "the configuration file cannot be read", file=path)
    if files:
        try:
            conf.CONF([], project="nova-kvs", default_config_files=files,
                      default_config_dirs=[])
        except (cfg.Error, OSError, UnicodeError) as error:
            raise exceptions.ConfigurationError(
                "the configuration file is not valid: %s"
                % one_line(error)) from error


def print_json(document, stream=None):
    """Print one JSON document.

    :param stream: None for the standard output.
    """
    stream = stream or sys.stdout
    json.dump(document, stream, indent=2, sort_keys=True)
    stream.write("\n")


def copy(args, job):
    """Run a copy, or only try it, and print what was done.

    :param job: nova_kvs.transfer.importing.Import, exporting.Export or
        restoring.Restore.
    :returns: the exit status.
    """
    started = time.monotonic()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        is_early = getattr(args, "pre_copy", False)
        early = {"is_early": True} if is_early else {}
        counts = (job.try_out() if args.dry_run
                  else job.run(args.replace, **early))
    except exceptions.KVSError as error:
        if job.goes_on:
            error.args = ("%s; the copy goes on when the same command is run "
                          "again" % error.args[0],)
        raise
    except KeyboardInterrupt:
        if job.goes_on:
            print("nova-kvs: stopped: the copy is not complete; it goes on "
                  "when the same command is run again", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    seconds = time.monotonic() - started
    if args.json:
        print_json({
            "tables": counts, "rows": sum(counts.values()),
            "copied": not args.dry_run,
            "verified": not args.dry_run and not is_early,
            "seconds": round(seconds, 3)})
        return 0
    for name, count in sorted(counts.items()):
        if count:
            print("%-40s %12d %s" % (
                name, count, "row" if count == 1 else "rows"))
    print("%s of %s %s in %.1f s" % (
        wording.number(sum(counts.values()), "row"),
        wording.number(len(counts), "table"),
        "tried, nothing copied" if args.dry_run else
        "copied, to be completed without --pre-copy" if is_early else
        "copied and verified", seconds))
    return 0


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


def _interrupt(number, frame):
    raise Terminated


class Progress:
    """The progress of a long command, on stderr.

    One line that is written over on a terminal, else one now and then.
    """

    def __init__(self, stream=None):
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._interval_s = OFTEN_S if self._is_terminal else SPARSE_S
        self._started = time.monotonic()
        self._next = self._started + self._interval_s
        self._is_open = False
        # When ``step`` was called first, and with what number.
        self._first = None

    def count(self, text, *values):
        """Say how far it is, unless that was said a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._interval_s
        self.say(text % values if values else text)

    def step(self, text, done, total):
        """Say how much is done and when all is, as ``count`` does.

        :param text: what is going on.
        :param done: number of rows so far.
        :param total: number of all rows; None if not known.
        """
        now = time.monotonic()
        if self._first is None or done < self._first[1]:
            self._first = now, done
        if not total:
            self.count("%s: %s", text, wording.number(done, "row"))
            return
        # A copy that goes on has not done all of it now.
        began, skipped = self._first
        left = ""
        if done > skipped and now > began:
            left = ", about %d s left" % (
                (now - began) * max(0, total - done) / (done - skipped))
        self.count("%s: %d %% of %s%s", text, 100 * min(done, total) // total,
                   wording.number(total, "row"), left)

    def say(self, text):
        """Say it now."""
        line = "[%d s] %s" % (time.monotonic() - self._started, text)
        if self._is_terminal:
            self._stream.write(_ERASE_LINE + line)
            self._is_open = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def close(self):
        """Take the line off the terminal."""
        if self._is_open:
            self._stream.write(_ERASE_LINE)
            self._stream.flush()
            self._is_open = False
