# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs demo``: boot servers on a Nova cloud in this process."""

import argparse
import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
import traceback

from nova_kvs import exceptions

DEFAULT_URL = "kvs+memory:///nova"
#: Seconds without any change after which the demo gives up.
STALL_TIMEOUT_S = 120
POLL_S = 0.5
MAX_SERVERS = 100000
MAX_HOSTS = 100

_SERVE_TEXT = """
The API answers at {url}/v2.1 until Ctrl-C. List servers, boot one, delete one:

curl -s -H 'X-Auth-Token: {token}' {url}/v2.1/servers/detail

curl -s -H 'X-Auth-Token: {token}' \
-H 'OpenStack-API-Version: compute {microversion}' \
-H 'Content-Type: application/json' -d '{body}' {url}/v2.1/servers

curl -s -X DELETE -H 'X-Auth-Token: {token}' {url}/v2.1/servers/{server_id}
"""


def _number(largest):
    def parse(text):
        value = int(text)
        if not 1 <= value <= largest:
            raise argparse.ArgumentTypeError(
                "%d is not between 1 and %d" % (value, largest))
        return value
    parse.__name__ = "number"
    return parse


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "demo", help="boot servers on a Nova cloud in this process",
        description="Start Nova (API, conductor, scheduler and computes "
        "with its fake driver) and Placement in this process, boot servers "
        "through the HTTP API, and stop.")
    parser.add_argument(
        "--servers", type=_number(MAX_SERVERS), default=10, metavar="N",
        help="servers to boot (default: 10)")
    parser.add_argument(
        "--computes", type=_number(MAX_HOSTS), default=3, metavar="N",
        help="compute hosts (default: 3)")
    parser.add_argument(
        "--controllers", type=_number(MAX_HOSTS), default=1, metavar="N",
        help="hosts with API, conductor and scheduler (default: 1)")
    parser.add_argument(
        "--url", default=DEFAULT_URL,
        help="where the state is kept, such as "
        "kvs+cluster://127.0.0.1:7000/demo: the databases demo_api, "
        "demo_cell0, demo_cell1 and demo_placement are made there "
        "(default: %(default)s, in this process)")
    parser.add_argument(
        "--services", action="store_true",
        help="run a real Keystone and Glance on the same store, in processes "
        "of their own, in place of stand-ins: needs nova-kvs[cloud] and "
        "--url with servers (databases demo_keystone and demo_glance)")
    parser.add_argument(
        "--serve", action="store_true",
        help="leave the cloud running until Ctrl-C")
    parser.add_argument(
        "--json", metavar="FILE", help="write the figures to a file")
    return parser


def run(args):
    """Run the demo, then end the process.

    Does not return: Nova's and oslo.messaging's thread pools have no end
    of their own, and the interpreter would wait for them.
    """
    status = _run(args)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(args):
    from nova_kvs.demo import interrupt
    directory = os.path.join(
        tempfile.gettempdir(), "nova-kvs-demo-" + secrets.token_hex(8))

    demo = None

    def cleanup():
        if demo is not None:
            demo.kill()
        shutil.rmtree(directory, ignore_errors=True)

    with interrupt.Interrupt(cleanup) as stop:
        demo = Demo(args, directory, stop)
        try:
            os.mkdir(directory, 0o700)
            return demo.run()
        except exceptions.ConfigurationError as error:
            return _fail(2, error)
        # NOTE: whatever goes wrong in Nova must become a message here:
        # oslo.log's exception hook would show it only in the log.
        except Exception as error:
            demo.log_traceback()
            return _fail(1, "%s: %s" % (type(error).__name__, error))
        finally:
            cleanup()


def _fail(status, error):
    print("nova-kvs demo: error: %s" % " ".join(str(error).split()),
          file=sys.stderr)
    return status


def _check_installed():
    """Refuse to start without what the demo runs.

    :raises nova_kvs.exceptions.ConfigurationError: naming what is missing.
    """
    missing = [name for name in ("nova", "placement")
               if importlib.util.find_spec(name) is None]
    if missing:
        raise exceptions.ConfigurationError(
            "the demo needs Nova and Placement: install nova-kvs[nova]",
            missing=" ".join(missing))


def _check_services(url):
    """Refuse --services without what it needs.

    :raises nova_kvs.exceptions.ConfigurationError: saying what.
    """
    from nova_kvs.demo import services
    missing = services.missing()
    if missing:
        raise exceptions.ConfigurationError(
            "--services needs Keystone and Glance: install nova-kvs[cloud]",
            missing=" ".join(missing))
    if url.startswith("kvs+memory:"):
        raise exceptions.ConfigurationError(
            "--services needs a store that several processes reach: name "
            "one with --url, such as kvs+redis://127.0.0.1:6379/demo")


def _check_url(url):
    """Return the databases of a URL whose store answers.

    Before Nova does: it would try for minutes.

    :raises nova_kvs.exceptions.ConfigurationError: if they are not usable.
    """
    import sqlalchemy

    from nova_kvs.demo import config
    try:
        databases = config.Databases.from_url(url)
        for one in databases:
            engine = sqlalchemy.create_engine(one)
            with contextlib.closing(engine.connect()) as connection:
                if one == databases.api:
                    _check_is_ours(connection)
            engine.dispose()
    except exceptions.ConfigurationError:
        raise
    except (sqlalchemy.exc.SQLAlchemyError, exceptions.KVSError,
            ImportError, ValueError) as error:
        # The driver's own words, without SQLAlchemy's frame around them.
        reason = getattr(error, "orig", None) or error
        raise exceptions.ConfigurationError(
            "--url cannot be used: %s" % reason) from error
    return databases


def _check_is_ours(connection):
    """Refuse the databases of a cloud that is none of the demo's.

    Its tables would be migrated, and servers be booted in it.

    :raises nova_kvs.exceptions.ConfigurationError: naming the message bus.
    """
    import sqlalchemy
    if not sqlalchemy.inspect(connection).has_table("cell_mappings"):
        return
    for bus, in connection.execute(sqlalchemy.text(
            "SELECT transport_url FROM cell_mappings "
            "WHERE transport_url IS NOT NULL")):
        scheme = bus.partition(":")[0]
        if scheme not in ("fake", "none"):
            raise exceptions.ConfigurationError(
                "--url names databases of a cloud that is not the demo's: "
                "give another name", database=connection.engine.url.database,
                message_bus=scheme)


class Demo:
    """One run of the demo."""

    def __init__(self, args, directory, stop):
        from nova_kvs.demo import progress
        self._args = args
        self._stop = stop
        self._directory = directory
        self._log_path = None
        self._token = secrets.token_hex(16)
        # Servers of earlier runs on the same store are not ours to count.
        self._prefix = "demo-%s-" % secrets.token_hex(3)
        self._progress = progress.Progress()
        self._cloud = None
        self._services = None
        self._client = None
        self._problems = []

    def run(self):
        """Return the exit status."""
        _check_installed()
        if self._args.services:
            _check_services(self._args.url)
        if self._args.json:
            self._check_json()
        databases = _check_url(self._args.url)
        try:
            if not self._start(databases):
                return self._stop.status
            return self._work(databases)
        finally:
            self._stop_cloud()

    def log_traceback(self):
        """Add the exception that is being handled to the log."""
        if self._log_path is not None:
            with open(self._log_path, "a") as stream:
                traceback.print_exc(file=stream)

    def _check_json(self):
        """Find out now, not after the work, whether it can be written."""
        is_new = not os.path.exists(self._args.json)
        try:
            with open(self._args.json, "a"):
                pass
            if is_new:
                os.unlink(self._args.json)
        except OSError as error:
            raise exceptions.ConfigurationError(
                "--json cannot be written: %s" % error) from error

    def _start(self, databases):
        """Start the cloud; return False if it was interrupted."""
        from nova_kvs.demo import cloud
        descriptor, self._log_path = tempfile.mkstemp(
            prefix="nova-kvs-demo-", suffix=".log")
        os.close(descriptor)
        self._progress.line("Log: %s" % self._log_path)
        self._progress.step("loading Nova")
        cloud.use_native_threads()
        if self._args.services and not self._start_services():
            return False
        self._cloud = cloud.Cloud(
            databases, self._directory, self._log_path, self._token,
            self._args.computes, self._args.controllers, self._services)
        for text in self._cloud.steps():
            if self._stop.is_set():
                return False
            self._progress.step(text)
        self._stop.is_orderly = True
        return True

    def _start_services(self):
        """Start Keystone and Glance; return False if it was interrupted."""
        from nova_kvs.demo import services
        self._services = services.Services(
            self._args.url, self._directory, self._log_path)
        for text in self._services.steps():
            if self._stop.is_set():
                return False
            self._progress.step(text)
        self._token = self._services.token
        return True

    def kill(self):
        """End the processes that the demo has started."""
        if self._services is not None:
            self._services.stop()

    def _stop_cloud(self):
        if self._cloud is None:
            return
        cloud, self._cloud = self._cloud, None
        self._progress.step("stopping")
        if cloud.stop():
            self._progress.line("Stopped")
        else:
            self._problems.append("some services did not stop in time")

    def _work(self, databases):
        from nova_kvs.demo import client
        from nova_kvs.demo import figures
        self._client = client.Client(
            self._cloud.api_urls, self._token, image_id=self._image_id())
        flavor_id = self._client.ensure_flavor()
        meter = figures.Meter(databases)
        meter.start()
        started = time.monotonic()
        self._boot(flavor_id)
        servers = self._wait()
        if self._stop.is_set():
            return self._stop.status
        seconds = time.monotonic() - started
        cost = meter.stop()
        active = sum(s["status"] == "ACTIVE" for s in servers)
        self._report(servers, seconds, cost)
        self._write_json(active, seconds, cost)
        if self._args.serve:
            self._print_curl(servers, flavor_id)
        else:
            self._stop_cloud()
        for problem in self._problems:
            self._progress.line(problem)
        self._progress.line("%d of %d servers ACTIVE" % (
            active, self._args.servers))
        if self._args.serve:
            while not self._stop.wait(3600):
                pass
        if self._stop.is_set():
            return self._stop.status
        return 0 if active == self._args.servers else 1

    def _image_id(self):
        from nova_kvs.demo import standins
        return (self._services.image_id if self._services
                else standins.IMAGE_ID)

    def _boot(self, flavor_id):
        from nova_kvs.demo import client
        for number in range(1, self._args.servers + 1):
            if self._stop.is_set():
                return
            try:
                self._client.boot(
                    "%s%d" % (self._prefix, number), flavor_id)
            except (client.APIError, OSError) as error:
                self._problems.append(str(error))
                return
            self._progress.count(
                "asked for %d of %d servers" % (number, self._args.servers))

    def _wait(self):
        """Return the servers once nothing more will change."""
        states, changed = None, time.monotonic()
        while True:
            servers = self._client.servers(self._prefix)
            found = sorted(server["status"] for server in servers)
            if found != states:
                states, changed = found, time.monotonic()
            self._progress.count("%d of %d servers ACTIVE" % (
                found.count("ACTIVE"), self._args.servers))
            if "BUILD" not in found and (
                    len(found) == self._args.servers or self._problems):
                return servers
            if time.monotonic() - changed > STALL_TIMEOUT_S:
                self._problems.append(
                    "gave up after %d s without any change" % STALL_TIMEOUT_S)
                return servers
            if self._stop.wait(POLL_S):
                return servers

    def _report(self, servers, seconds, cost):
        from nova_kvs.demo import progress
        servers = sorted(servers, key=lambda server: int(
            server["name"].removeprefix(self._prefix)))
        self._progress.line()
        for line in progress.table(
                ("ID", "NAME", "STATE", "HOST"),
                [(server["id"], server["name"], server["status"],
                  server["OS-EXT-SRV-ATTR:host"] or "-")
                 for server in servers]):
            self._progress.line(line)
        self._progress.line()
        text = "Booted in %.1f s" % seconds
        if cost is not None:
            text += ": %d records stored, %d round trips" % cost
        self._progress.line(text)
        for server in servers:
            fault = server.get("fault")
            if fault:
                self._problems.append("%s: %s" % (
                    server["name"], fault["message"]))

    def _write_json(self, active, seconds, cost):
        if not self._args.json:
            return
        with open(self._args.json, "w") as stream:
            json.dump({
                "servers": self._args.servers,
                "active": active,
                "seconds": round(seconds, 3),
                "records": cost.records if cost else None,
                "round_trips": cost.round_trips if cost else None,
            }, stream)
            stream.write("\n")

    def _print_curl(self, servers, flavor_id):
        from nova_kvs.demo import client
        body = json.dumps({"server": client.server_body(
            self._prefix + "one-more", flavor_id, self._image_id())})
        self._progress.line(_SERVE_TEXT.format(
            url=self._cloud.api_urls[0], token=self._token, body=body,
            microversion=client.MICROVERSION,
            server_id=servers[0]["id"] if servers else "ID").rstrip())
        self._progress.line()
