# SPDX-License-Identifier: Apache-2.0
"""Placement by itself, served over HTTP by threads.

Usage: python -m tests.functional.placement.service URL PORT
"""

import os
import socketserver
import sys
import tempfile
from wsgiref import simple_server

from tests import fixtures


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass


def main(url, port):
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "placement.conf"), "w") as file:
            file.write(
                "[api]\nauth_strategy = noauth2\n[placement_database]\n"
                "sync_on_startup = true\nconnection = %s\n" % url)
        os.environ["OS_PLACEMENT_CONFIG_DIR"] = directory
        from placement import wsgi

        server = simple_server.make_server(
            fixtures.HOST, int(port), wsgi.init_application(),
            server_class=Server, handler_class=Handler)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
