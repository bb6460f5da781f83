# SPDX-License-Identifier: Apache-2.0
"""A WSGI server for loopback: the standard library's, with threads.

Also a program that serves one application::

    python -m nova_kvs.demo.wsgi nova.wsgi.osapi_compute:application 8774
"""

import importlib
import io
import logging
import socketserver
import sys
import threading
from wsgiref import simple_server

LOG = logging.getLogger(__name__)

#: Requests that are answered at a time. More would only wait for each other:
#: for the processor, and those that use a SQL database for its connections.
REQUESTS = 16


class _LogStream(io.TextIOBase):
    """Log lines of what an application and wsgiref write about errors."""

    def writable(self):
        return True

    def write(self, text):
        if text.strip():
            LOG.warning("%s", text.rstrip())
        return len(text)


class _Handler(simple_server.WSGIRequestHandler):

    #: Seconds that a connection may be silent before it is closed.
    timeout = 60

    def address_string(self):
        # No reverse look-up of loopback.
        return self.client_address[0]

    def get_stderr(self):
        return _LogStream()

    def log_message(self, format, *args):
        LOG.debug(format, *args)


class WSGIServer(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """Serve one WSGI application on 127.0.0.1, a thread a request.

    At most ``REQUESTS`` of them run.

    :param app: the WSGI application, or None to set it later with
        ``set_app``: a port can be taken before what answers on it exists.
    :param port: TCP port; 0 takes a free one.
    :raises OSError: if the port is taken.
    """

    daemon_threads = True
    # Do not wait for requests that are still running when closed.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, app=None, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.set_app(app)
        self._thread = None
        self._free = threading.BoundedSemaphore(REQUESTS)

    @property
    def url(self):
        """Base URL, without a slash at its end."""
        return "http://127.0.0.1:%d" % self.server_port

    def server_bind(self):
        # Not HTTPServer's, which asks for the host's full name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]
        self.setup_environ()

    def process_request_thread(self, request, client_address):
        # Here, so that connections are accepted and a stop is heard.
        with self._free:
            super().process_request_thread(request, client_address)

    def handle_error(self, request, client_address):
        LOG.warning("request from %s failed", client_address, exc_info=True)

    def start(self):
        """Serve from a thread of its own."""
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1},
            name="wsgi-%d" % self.server_port, daemon=True)
        self._thread.start()

    def stop(self):
        """Take no more requests and give the port back."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
            self._thread = None
        self.server_close()


def main(argv):
    """Serve one application until the process is killed.

    :param argv: ``module:attribute`` of the application and a port.
    """
    name, port = argv
    # Services read their own arguments from it, and have none.
    del sys.argv[1:]
    module, attribute = name.split(":")
    app = getattr(importlib.import_module(module), attribute)
    WSGIServer(app, int(port)).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
