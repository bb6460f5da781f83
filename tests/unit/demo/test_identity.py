# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs.demo import identity

TOKEN = "s3cret"


def call(**environ):
    """Return (status, the environ that the application saw or None)."""
    seen = []
    answers = []

    def app(environ, start_response):
        seen.append(environ)
        start_response("200 OK", [])
        return [b""]

    identity.filter_factory({}, token=TOKEN)(app)(
        dict(environ), lambda status, headers: answers.append(status))
    return answers[0], seen[0] if seen else None


def test_token_makes_an_administrator():
    status, environ = call(HTTP_X_AUTH_TOKEN=TOKEN)
    assert status == "200 OK"
    assert "admin" in environ["HTTP_X_ROLES"].split(",")
    assert environ["HTTP_X_PROJECT_ID"] == identity.PROJECT_ID
    assert environ["HTTP_X_USER_ID"] == identity.USER_ID


@pytest.mark.parametrize("environ", [
    {}, {"HTTP_X_AUTH_TOKEN": ""}, {"HTTP_X_AUTH_TOKEN": TOKEN + "x"},
    {"HTTP_X_AUTH_TOKEN": "\xff"},
    {"HTTP_X_USER_ID": "me", "HTTP_X_ROLES": "admin"}])
def test_anything_else_is_refused(environ):
    status, seen = call(**environ)
    assert status == "401 Unauthorized"
    assert seen is None


def test_identity_headers_of_the_client_are_dropped():
    _, environ = call(
        HTTP_X_AUTH_TOKEN=TOKEN, HTTP_X_PROJECT_DOMAIN_ID="x",
        HTTP_OPENSTACK_SYSTEM_SCOPE="all", HTTP_X_ROLES="other",
        HTTP_X_OPENSTACK_NOVA_API_VERSION="2.90")
    assert "HTTP_X_PROJECT_DOMAIN_ID" not in environ
    assert "HTTP_OPENSTACK_SYSTEM_SCOPE" not in environ
    assert "other" not in environ["HTTP_X_ROLES"]
    assert environ["HTTP_X_OPENSTACK_NOVA_API_VERSION"] == "2.90"


def test_an_empty_token_is_not_accepted():
    with pytest.raises(ValueError):
        identity.filter_factory({}, token="")
