# SPDX-License-Identifier: Apache-2.0
"""The interface: complete, and Nova's own signatures."""

import inspect
import subprocess
import sys

from nova.db.main import api as main_db_api
from oslo_config import cfg
from oslo_db import api as oslo_db_api
import pytest

from nova_kvs.db import api
from nova_kvs.db import dispatch
from nova_kvs.db import native

_PUBLIC = sorted(
    name for name, function in inspect.getmembers(
        main_db_api, inspect.isfunction)
    if not name.startswith("_") and function.__module__ == native.MAIN)


def test_every_function_is_there():
    assert len(_PUBLIC) >= 180
    assert set(_PUBLIC) <= set(dir(api))


@pytest.mark.parametrize("name", _PUBLIC)
def test_signature_is_novas(name):
    assert inspect.signature(getattr(api, name)) == inspect.signature(
        getattr(main_db_api, name))


def _exists(target):
    """Tell whether this release of Nova has a function."""
    owner, name = native.lookup(target)
    return hasattr(owner, name)


@pytest.mark.parametrize("target", sorted(filter(_exists, dispatch.load())))
def test_native_signature_is_novas(target):
    wrapper = native.REGISTRY[target]
    expected = list(inspect.signature(
        native.original(target)).parameters.values())
    actual = list(inspect.signature(wrapper).parameters.values())
    assert actual == expected


def test_backend_of_oslo_db():
    conf = cfg.ConfigOpts()
    conf([])
    conf.register_opts(oslo_db_api.options.database_opts, "database")
    conf.set_override("backend", "nova_kvs.db.api", "database")
    database = oslo_db_api.DBAPI.from_config(conf)
    assert database.instance_get_by_uuid is api.instance_get_by_uuid


def test_unknown_name():
    with pytest.raises(AttributeError):
        api.no_such_function


def test_import_needs_no_nova():
    code = ("import sys, nova_kvs.db.api as api\n"
            "assert api.install() == 0\n"
            "assert not [name for name in sys.modules\n"
            "            if name == 'nova' or name.startswith('nova.')]\n")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
