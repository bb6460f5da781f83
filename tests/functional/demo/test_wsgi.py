# SPDX-License-Identifier: Apache-2.0
import http.client
import socket
import threading

import pytest

from nova_kvs.demo import wsgi


@pytest.fixture
def serve():
    """Start a server for an application; all are stopped at the end."""
    servers = []

    def start(app, port=0):
        server = wsgi.WSGIServer(app, port)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


def get(server, path="/"):
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_requests_run_side_by_side(serve):
    meeting = threading.Barrier(3, timeout=30)

    def app(environ, start_response):
        meeting.wait()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]

    server = serve(app)
    answers = []
    threads = [threading.Thread(
        target=lambda path=path: answers.append(get(server, path)))
        for path in ("/a", "/b", "/c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(200, b"/a"), (200, b"/b"), (200, b"/c")]


def test_no_more_than_some_run(serve):
    running = []
    full = threading.Event()
    more = threading.Event()
    go = threading.Event()

    def app(environ, start_response):
        running.append(None)
        if len(running) == wsgi.REQUESTS:
            full.set()
        elif len(running) > wsgi.REQUESTS:
            more.set()
        go.wait(30)
        running.pop()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    server = serve(app)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(get(server)))
               for _number in range(2 * wsgi.REQUESTS)]
    for thread in threads:
        thread.start()
    assert full.wait(30)
    assert not more.wait(1)
    go.set()
    for thread in threads:
        thread.join()
    assert answers == [(200, b"done")] * len(threads)
    assert not more.is_set()


def test_failure_goes_to_the_log(serve, caplog, capfd):
    def app(environ, start_response):
        raise ValueError("what went wrong")

    assert get(serve(app))[0] == 500
    assert "what went wrong" in caplog.text
    assert capfd.readouterr().err == ""


def test_taken_port_is_an_error(serve):
    server = serve(None)
    with pytest.raises(OSError):
        wsgi.WSGIServer(None, server.server_port)


def test_stop_gives_the_port_back(serve):
    server = wsgi.WSGIServer()
    server.start()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.server_port))
    serve(None, server.server_port)


def test_listens_on_loopback_only(serve):
    assert serve(None).socket.getsockname()[0] == "127.0.0.1"
