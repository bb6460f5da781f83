# SPDX-License-Identifier: Apache-2.0
"""A real Keystone and Glance beside the demo's cloud, on the same store.

They are processes of their own: their options and Nova's have the same names
in oslo.config's one configuration of a process.
"""

import http.client
import importlib.metadata
import json
import os
import secrets
import socket
import subprocess  # nosec B404: of this interpreter, without a shell
import sys
import time
import urllib.parse

import sqlalchemy

from nova_kvs.demo import config
from nova_kvs.demo import standins
from nova_kvs import exceptions

#: Longest time that a service may take to answer, seconds.
START_TIMEOUT_S = 120
POLL_S = 0.2
#: Longest time that an answer may take, seconds.
REQUEST_TIMEOUT_S = 60
#: What keystone-manage bootstrap calls both.
ADMIN = "admin"
PACKAGES = ("keystone", "glance")

_MANAGE = "from {0}.cmd.manage import main; main()"


def missing():
    """Return the names of the packages that are not installed."""
    found = []
    for name in PACKAGES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(name)
    return found


def _url_of(base, name):
    url = sqlalchemy.make_url(base)
    url = url.set(database="%s_%s" % (url.database or "demo", name))
    return url.update_query_dict({"foreign_keys": "true"}).render_as_string(
        hide_password=False)


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _shipped(package, path):
    """Return a file that a package was installed with."""
    for found in importlib.metadata.files(package) or ():
        if found.match(path):
            return str(found.locate())
    raise exceptions.ConfigurationError(
        "%s is installed without its %s" % (package, path))


class Services:
    """Keystone and Glance, with an administrator and an image.

    :param url: that of the demo; the databases ``NAME_keystone`` and
        ``NAME_glance`` are made there.
    :param directory: existing directory for configuration and images.
    :param log_path: the log file of both.
    """

    def __init__(self, url, directory, log_path):
        self._urls = {name: _url_of(url, name) for name in PACKAGES}
        self._directory = directory
        self._log_path = log_path
        self._password = secrets.token_hex(16)
        self._processes = []
        ports = {name: _free_port() for name in PACKAGES}
        self._ports = ports
        # Of its own: the catalog keeps the ports of earlier runs.
        self._region = "demo-%d" % ports["keystone"]
        #: Base URLs.
        self.identity_url = "http://127.0.0.1:%d/v3" % ports["keystone"]
        self.image_url = "http://127.0.0.1:%d" % ports["glance"]
        #: The administrator's token, and the image's id.
        self.token = None
        self.image_id = None

    def steps(self):
        """Start both, step by step.

        :returns: iterable of what is done next, as a short text.
        """
        yield "setting up the Keystone database"
        self._configure_keystone()
        self._manage("keystone", "db_sync")
        self._manage("keystone", "fernet_setup",
                     "--keystone-user", str(os.getuid()),
                     "--keystone-group", str(os.getgid()))
        self._manage("keystone", "bootstrap")
        yield "starting Keystone"
        self._serve("keystone")
        self.token = self._ask_for_token()
        yield "setting up the Glance database"
        self._configure_glance()
        self._manage("glance", "db_sync")
        yield "starting Glance"
        self._serve("glance")
        self.image_id = self._make_image()

    def credentials(self):
        """Return the options by which a service is the administrator."""
        return {
            "auth_type": "password", "auth_url": self.identity_url,
            "username": ADMIN, "password": self._password,
            "project_name": ADMIN, "user_domain_id": "default",
            "project_domain_id": "default",
        }

    def middleware(self):
        """Return the options of Keystone's middleware."""
        return {
            **self.credentials(), "region_name": self._region,
            "www_authenticate_uri": self.identity_url,
            "service_token_roles": ADMIN,
            "service_token_roles_required": True,
        }

    def stop(self):
        """End both, also those that are about to start."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes = []

    def _path(self, name):
        return os.path.join(self._directory, name)

    def _configure_keystone(self):
        keys = self._path("keystone-keys")
        os.mkdir(keys, 0o700)
        sections = {
            "DEFAULT": {"log_file": self._log_path, "use_stderr": False},
            "database": {"connection": self._urls["keystone"]},
        }
        for name in ("fernet_tokens", "fernet_receipts", "credential"):
            sections[name] = {"key_repository": keys}
        config.write_conf(self._path("keystone.conf"), sections)

    def _configure_glance(self):
        images = self._path("images")
        config.write_conf(self._path("glance-api.conf"), {
            "DEFAULT": {"log_file": self._log_path, "use_stderr": False,
                        "enabled_backends": "demo:file",
                        "node_staging_uri": "file://" + self._path("staging"),
                        "enabled_import_methods": "[glance-direct]"},
            "database": {"connection": self._urls["glance"]},
            "demo": {"filesystem_store_datadir": images},
            "glance_store": {"default_backend": "demo"},
            "os_glance_staging_store": {
                "filesystem_store_datadir": self._path("staging")},
            "os_glance_tasks_store": {
                "filesystem_store_datadir": self._path("tasks")},
            "keystone_authtoken": self.middleware(),
            "paste_deploy": {
                "flavor": "keystone", "config_file": _shipped(
                    "glance", "etc/glance/glance-api-paste.ini")},
        })
        for name in ("images", "staging", "tasks"):
            os.mkdir(self._path(name))

    def _environment(self):
        return {
            **os.environ,
            "OS_KEYSTONE_CONFIG_FILES": self._path("keystone.conf"),
            "OS_GLANCE_CONFIG_DIR": self._directory,
            # In no process's arguments.
            "OS_BOOTSTRAP_PASSWORD": self._password,
            "OS_BOOTSTRAP_PUBLIC_URL": self.identity_url,
            "OS_BOOTSTRAP_INTERNAL_URL": self.identity_url,
            "OS_BOOTSTRAP_REGION_ID": self._region,
        }

    def _run(self, *arguments):
        """Start a process of this interpreter, which writes into the log."""
        with open(self._log_path, "ab") as log:
            process = subprocess.Popen(  # nosec B603: no shell
                [sys.executable, "-W", "ignore", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment())
        self._processes.append(process)
        return process

    def _manage(self, name, command, *arguments):
        file = "glance-api.conf" if name == "glance" else "keystone.conf"
        process = self._run(
            "-c", _MANAGE.format(name), "--config-file", self._path(file),
            command, *arguments)
        status = process.wait()
        self._processes.remove(process)
        if status:
            raise exceptions.KVSError(
                "%s-manage %s failed: see the log" % (name, command))

    def _serve(self, name):
        process = self._run(
            "-m", "nova_kvs.demo.wsgi", name + ".wsgi.api:application",
            str(self._ports[name]))
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return socket.create_connection(
                    ("127.0.0.1", self._ports[name]), 1).close()
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise exceptions.KVSError(
                        "%s does not start: see the log" % name) from None
            time.sleep(POLL_S)

    def _request(self, url, path, body, token=None, method="POST",
                 content="application/json"):
        """Send a request; return the answer's headers and its text."""
        headers = {"Content-Type": content}
        if token is not None:
            headers["X-Auth-Token"] = token
        connection = http.client.HTTPConnection(
            urllib.parse.urlsplit(url).netloc, timeout=REQUEST_TIMEOUT_S)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        finally:
            connection.close()
        if response.status >= 400:
            raise exceptions.KVSError("%s %s: HTTP %d: %s" % (
                method, path, response.status, text[:500]))
        return response.headers, text

    def _ask_for_token(self):
        domain = {"id": "default"}
        headers, _text = self._request(
            self.identity_url, "/v3/auth/tokens", json.dumps({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {
                    "name": ADMIN, "domain": domain,
                    "password": self._password}}},
                "scope": {"project": {"name": ADMIN, "domain": domain}},
            }}))
        return headers["X-Subject-Token"]

    def _make_image(self):
        _headers, text = self._request(
            self.image_url, "/v2/images", json.dumps({
                "name": standins.IMAGE_NAME, "visibility": "public",
                "container_format": "bare", "disk_format": "raw"}),
            self.token)
        image_id = json.loads(text)["id"]
        self._request(
            self.image_url, "/v2/images/%s/file" % image_id, bytes(1024),
            self.token, "PUT", "application/octet-stream")
        return image_id
