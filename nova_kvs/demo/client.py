# SPDX-License-Identifier: Apache-2.0
"""The few requests to the compute API that the demo and its tests need."""

import http.client
import itertools
import json
import urllib.parse

from nova_kvs.demo import standins

#: Known to every release that nova-kvs supports.
MICROVERSION = "2.90"
#: Servers asked for in one page.
PAGE_SIZE = 500
#: Name of the small flavor of the demo's servers.
FLAVOR = "demo.tiny"


class APIError(Exception):
    """The API refused a request, or answered with something else.

    :ivar status: the HTTP status.
    """

    def __init__(self, method, path, status, text):
        self.status = status
        super().__init__("%s %s: HTTP %d: %s" % (
            method, path, status, text[:500]))


class Client:
    """A client of one or more equivalent API endpoints, asked in turn.

    :param urls: base URLs, without a path.
    :param token: the administrator's token.
    :param timeout_s: longest wait for an answer, seconds.
    :param image_id: of the image to boot from.
    """

    def __init__(self, urls, token, timeout_s=60,
                 image_id=standins.IMAGE_ID):
        self._endpoints = itertools.cycle(
            [urllib.parse.urlsplit(url).netloc for url in urls])
        self._token = token
        self._timeout_s = timeout_s
        self._image_id = image_id

    def request(self, method, path, body=None):
        """Send a request.

        :param path: path and query below ``/v2.1``.
        :param body: what to send as JSON, or None.
        :returns: the decoded answer, None if it is empty.
        :raises APIError: for a status of 400 or more.
        :raises OSError: if no answer came.
        """
        headers = {
            "X-Auth-Token": self._token,
            "Accept": "application/json",
            "OpenStack-API-Version": "compute " + MICROVERSION,
        }
        if body is not None:
            body = json.dumps(body)
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(
            next(self._endpoints), timeout=self._timeout_s)
        try:
            connection.request(method, "/v2.1" + path, body, headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise OSError("no valid answer: %r" % error) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise APIError(method, path, response.status, text)
        return json.loads(text) if text else None

    def ensure_flavor(self):
        """Return the id of a small flavor, made if it is not there."""
        flavors = self.request("GET", "/flavors")["flavors"]
        for flavor in flavors:
            if flavor["name"] == FLAVOR:
                return flavor["id"]
        return self.request("POST", "/flavors", {"flavor": {
            "name": FLAVOR, "vcpus": 1, "ram": 64, "disk": 0,
        }})["flavor"]["id"]

    def boot(self, name, flavor_id):
        """Ask for a server and return its id."""
        return self.request("POST", "/servers", {
            "server": server_body(name, flavor_id, self._image_id),
        })["server"]["id"]

    def servers(self, name=None):
        """Return servers with details.

        :param name: only those whose name holds this.
        """
        found = []
        query = {"limit": PAGE_SIZE}
        if name is not None:
            query["name"] = name
        while True:
            page = self.request(
                "GET", "/servers/detail?" + urllib.parse.urlencode(query)
            )["servers"]
            found += page
            if len(page) < PAGE_SIZE:
                return found
            query["marker"] = page[-1]["id"]

    def server(self, server_id):
        """Return one server with details."""
        return self.request("GET", "/servers/" + server_id)["server"]

    def act(self, server_id, action):
        """Run an action, such as ``{"os-stop": None}``, on a server."""
        self.request("POST", "/servers/%s/action" % server_id, action)

    def delete(self, server_id):
        """Ask for a server to be deleted."""
        self.request("DELETE", "/servers/" + server_id)


def server_body(name, flavor_id, image_id=standins.IMAGE_ID):
    """Return what to POST to boot a server from an image."""
    return {
        "name": name,
        "imageRef": image_id,
        "flavorRef": flavor_id,
        "networks": "none",
    }
