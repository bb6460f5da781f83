# SPDX-License-Identifier: Apache-2.0
"""WSGI application in place of Glance and Neutron: one image, no ports."""

import json

IMAGE_NAME = "demo"
IMAGE_ID = "70a599e0-31e7-49b7-b260-868f441e862b"

_IMAGE = {
    "id": IMAGE_ID,
    "name": IMAGE_NAME,
    "status": "active",
    "visibility": "public",
    "protected": False,
    "os_hidden": False,
    "owner": None,
    "container_format": "bare",
    "disk_format": "raw",
    "size": 1024,
    "virtual_size": None,
    "min_disk": 0,
    "min_ram": 0,
    "checksum": "d41d8cd98f00b204e9800998ecf8427e",
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "tags": [],
    "self": "/v2/images/" + IMAGE_ID,
    "file": "/v2/images/%s/file" % IMAGE_ID,
    "schema": "/v2/schemas/image",
}

#: Nova's client copies the properties that the schema knows.
_IMAGE_SCHEMA = {
    "name": "image",
    "properties": {name: {} for name in _IMAGE},
    "additionalProperties": {"type": "string"},
}

_IMAGE_API = {
    "/v2/images": {"images": [_IMAGE], "schema": "/v2/schemas/images"},
    _IMAGE["self"]: _IMAGE,
    _IMAGE["schema"]: _IMAGE_SCHEMA,
}

_NETWORK_PREFIX = "/v2.0/"


def _answer(method, path):
    """Return (status, object) for a request."""
    if method != "GET":
        return "405 Method Not Allowed", {}
    if path in _IMAGE_API:
        return "200 OK", _IMAGE_API[path]
    if path.startswith(_NETWORK_PREFIX):
        collection = path[len(_NETWORK_PREFIX):].removesuffix(".json")
        if collection and "/" not in collection:
            # Ports, extensions, security groups ...: there are none.
            return "200 OK", {collection.replace("-", "_"): []}
    return "404 Not Found", {}


def application(environ, start_response):
    """Answer what Nova asks Glance and Neutron when it boots a server."""
    status, answer = _answer(
        environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
    body = json.dumps(answer).encode()
    start_response(status, [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body)))])
    return [body]
