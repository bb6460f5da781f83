# SPDX-License-Identifier: Apache-2.0
import http.client
import io
import json

import pytest

from nova_kvs.demo import client


class Connections:
    """Stands in for http.client.HTTPConnection."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, netloc, timeout):
        self.netloc = netloc
        return self

    def request(self, method, path, body, headers):
        self.requests.append((self.netloc, method, path, body, headers))

    def getresponse(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.status, body = answer
        stream = io.BytesIO(body)
        stream.status = self.status
        return stream

    def close(self):
        pass


@pytest.fixture
def connect(monkeypatch):
    def replace(*answers):
        connections = Connections(*answers)
        monkeypatch.setattr(http.client, "HTTPConnection", connections)
        return connections
    return replace


def make_client():
    return client.Client(["http://a:1", "http://b:2"], "s3cret")


def test_endpoints_are_asked_in_turn(connect):
    connections = connect((200, b'{"x": 1}'), (204, b""))
    nova = make_client()
    assert nova.request("GET", "/x") == {"x": 1}
    assert nova.request("POST", "/y", {"z": 2}) is None
    first, second = connections.requests
    assert first[:4] == ("a:1", "GET", "/v2.1/x", None)
    assert second[:4] == ("b:2", "POST", "/v2.1/y", '{"z": 2}')
    assert first[4]["X-Auth-Token"] == "s3cret"


def test_refusal_is_an_error(connect):
    connect((409, b"taken"))
    with pytest.raises(client.APIError) as error:
        make_client().request("GET", "/x")
    assert error.value.status == 409
    assert "taken" in str(error.value)
    assert "s3cret" not in str(error.value)


def test_broken_answer_is_an_os_error(connect):
    connect(http.client.BadStatusLine("x"))
    with pytest.raises(OSError):
        make_client().request("GET", "/x")


def test_servers_come_in_pages(connect):
    page = [{"id": str(number)} for number in range(client.PAGE_SIZE)]
    connections = connect(
        (200, json.dumps({"servers": page}).encode()),
        (200, b'{"servers": [{"id": "last"}]}'))
    assert len(make_client().servers("a b")) == client.PAGE_SIZE + 1
    paths = [request[2] for request in connections.requests]
    assert paths[0].endswith("?limit=500&name=a+b")
    assert paths[1].endswith("&marker=499")


def test_flavor_is_made_once(connect):
    connect((200, b'{"flavors": [{"name": "demo.tiny", "id": "7"}]}'))
    assert make_client().ensure_flavor() == "7"
    connections = connect((200, b'{"flavors": []}'),
                          (200, b'{"flavor": {"id": "8"}}'))
    assert make_client().ensure_flavor() == "8"
    assert connections.requests[1][1] == "POST"
