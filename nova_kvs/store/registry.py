# SPDX-License-Identifier: Apache-2.0
"""Finds the store driver that a URL names, and keeps one store a process.

Drivers are entry points of ``nova_kvs.store``: a name and a subclass of
:class:`nova_kvs.store.base.Store` that is called with a
:class:`~nova_kvs.store.url.StoreURL` and its
:class:`~nova_kvs.store.url.Settings`.
"""

import os

import stevedore
from stevedore import exception as stevedore_exceptions

from nova_kvs import exceptions
from nova_kvs.store import profiling
from nova_kvs.store import url as store_url

NAMESPACE = "nova_kvs.store"

parse_url = store_url.parse_url
StoreURL = store_url.StoreURL

#: Drivers' classes by name.
_drivers = {}
#: Stores of this process, and of those it was forked from.
_stores = {}


def get_store(url, *, options=None):
    """Return the store that a URL names, the same one each time.

    It is shared by all databases of the same servers, user and options, by
    all threads, and not by processes: a forked one makes its own.

    :param url: str, SQLAlchemy URL or StoreURL.
    :param options: dict of [nova_kvs] option values that win over those of
        the URL and of the configuration file.
    :raises nova_kvs.exceptions.ConfigurationError: if the URL is wrong or the
        driver is not there.
    """
    url = parse_url(url)
    settings = url.settings(**(options or {}))
    driver = load_driver(url.driver)
    key = (os.getpid(), url.driver, driver.identity(url), settings.key())
    store = _stores.get(key)
    if store is None:
        # Making a store connects to nothing; of two made at once one stays.
        store = _stores.setdefault(
            key, profiling.traced(driver(url, settings)))
    return store


def load_driver(name):
    """Return the class of a driver.

    :raises nova_kvs.exceptions.ConfigurationError: if there is none of this
        name, or it cannot be imported.
    """
    driver = _drivers.get(name)
    if driver is None:
        driver = _drivers[name] = _load(name)
    return driver


def _load(name):
    failures = []
    try:
        return stevedore.DriverManager(
            NAMESPACE, name,
            on_load_failure_callback=lambda manager, entry_point, exc:
                failures.append(exc)).driver
    except stevedore_exceptions.NoMatches as exc:
        if failures:
            raise exceptions.ConfigurationError(
                "the store driver cannot be loaded", driver=name,
                cause=failures[0]) from failures[0]
        known = stevedore.ExtensionManager(NAMESPACE).entry_points_names()
        raise exceptions.ConfigurationError(
            "there is no such store driver: correct the part after 'kvs+' "
            "of the connection URL", driver=name,
            known=", ".join(sorted(known))) from exc
