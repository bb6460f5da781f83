# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from nova_kvs.demo import standins


def get(path, method="GET"):
    """Return (status, decoded answer)."""
    answers = []
    body = b"".join(standins.application(
        {"REQUEST_METHOD": method, "PATH_INFO": path},
        lambda status, headers: answers.append((status, dict(headers)))))
    status, headers = answers[0]
    assert headers["Content-Length"] == str(len(body))
    return int(status.split()[0]), json.loads(body)


def test_image():
    status, image = get("/v2/images/" + standins.IMAGE_ID)
    assert status == 200
    assert image["status"] == "active"
    assert get("/v2/images")[1]["images"] == [image]
    # Nova's client drops what the schema does not name.
    assert set(get(image["schema"])[1]["properties"]) == set(image)


@pytest.mark.parametrize("path, answer", [
    ("/v2.0/ports", {"ports": []}),
    ("/v2.0/ports.json", {"ports": []}),
    ("/v2.0/security-groups", {"security_groups": []}),
])
def test_network_is_empty(path, answer):
    assert get(path) == (200, answer)


@pytest.mark.parametrize("path", [
    "", "/", "/v2/images/other", "/v2.0/", "/v2.0/ports/one"])
def test_nothing_else_is_there(path):
    assert get(path)[0] == 404


def test_nothing_can_be_changed():
    assert get("/v2.0/ports", "POST")[0] == 405
