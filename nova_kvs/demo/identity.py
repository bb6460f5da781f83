# SPDX-License-Identifier: Apache-2.0
"""Paste filter in place of Keystone's middleware: one token, one admin.

For loopback only: whoever has the token is the administrator.
"""

import hmac

#: The project that owns the demo's servers.
PROJECT_ID = "6f70656e737461636b20646f65732069"
#: The user who asks for them.
USER_ID = "61646d696e20616e64206d656d626572"

_BODY = (b'{"unauthorized": {"code": 401, "message": '
         b'"X-Auth-Token is missing or wrong"}}')


class Identity:
    """WSGI middleware that turns one token into an administrator.

    :param app: the next WSGI application.
    :param token: the only token that is accepted.
    """

    def __init__(self, app, token):
        self._app = app
        self._token = token.encode()

    def __call__(self, environ, start_response):
        given = environ.get("HTTP_X_AUTH_TOKEN", "").encode("latin-1")
        # Identity headers are the filter's to set, never the client's.
        for name in [n for n in environ
                     if n.startswith(("HTTP_X_", "HTTP_OPENSTACK_SYSTEM"))
                     and n not in _CLIENT_HEADERS]:
            del environ[name]
        if not hmac.compare_digest(given, self._token):
            start_response("401 Unauthorized", [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(_BODY)))])
            return [_BODY]
        environ.update(
            HTTP_X_IDENTITY_STATUS="Confirmed",
            HTTP_X_USER_ID=USER_ID,
            HTTP_X_USER_NAME="admin",
            HTTP_X_PROJECT_ID=PROJECT_ID,
            HTTP_X_PROJECT_NAME="demo",
            HTTP_X_ROLES="admin,manager,member,reader",
            HTTP_X_SERVICE_CATALOG="[]")
        return self._app(environ, start_response)


#: Headers of this form that are Nova's API, not identity.
_CLIENT_HEADERS = frozenset([
    "HTTP_X_AUTH_TOKEN",
    "HTTP_X_OPENSTACK_NOVA_API_VERSION",
    "HTTP_X_OPENSTACK_REQUEST_ID",
])


def filter_factory(global_conf, token):
    """Return the filter, for ``paste.filter_factory`` in api-paste.ini."""
    if not token:
        raise ValueError("the identity filter needs a token")
    return lambda app: Identity(app, token)
