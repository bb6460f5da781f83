# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs exporter``: the counters of a host's services over HTTP."""

import argparse

from nova_kvs.cmd import console

DEFAULT = "127.0.0.1:9427"


def _listen(text):
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) < 65536:
        raise argparse.ArgumentTypeError(
            "%r is not made like 127.0.0.1:9427" % text)
    return host.strip("[]"), int(port)


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "exporter", help="serve the counters of this host's services",
        description="Serve what the services of this host write to "
        "metrics_directory, all processes together, over HTTP for "
        "Prometheus, until it is stopped. Needs the extra prometheus.")
    parser.add_argument(
        "--listen", type=_listen, default=DEFAULT, metavar="ADDRESS:PORT",
        help="where to listen (default: %s)" % DEFAULT)
    console.add_metrics_directory(parser)
    console.add_common(parser, is_json=False)
    return parser


@console.command
def run(args):
    """Serve until a signal; return the exit status."""
    server = make_server(console.metrics_directory(args), *args.listen)
    console.Progress().say("serving http://%s:%d/metrics" % (
        server.server_address[:2]))
    with server:
        server.serve_forever()
    return 0


def make_server(directory, host, port):
    """Return a server of wsgiref that is bound and not running yet.

    :param directory: the services' ``metrics_directory``.
    """
    from nova_kvs.inspection import collected
    from wsgiref import simple_server
    client = collected.load_client()
    from prometheus_client import exposition

    class Handler(simple_server.WSGIRequestHandler):
        """A handler that logs no request."""

        def log_message(self, *args):
            pass

    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(_Described(collected.Directory(directory)))
    return simple_server.make_server(
        host, port, client.make_wsgi_app(registry),
        exposition.ThreadingWSGIServer, Handler)


class _Described:
    """A collector whose metrics are not asked for when it is registered."""

    def __init__(self, source):
        self.collect = source.collect

    def describe(self):
        return []
