# SPDX-License-Identifier: Apache-2.0
"""Loads the native functions for Nova and Placement.

The layer that has them is above this one, so it is found by its entry
point; ``install`` is all that is known of it.
"""

import logging

from oslo_utils import strutils
import stevedore
from stevedore import exception as stevedore_exception

from nova_kvs import conf
from nova_kvs import exceptions

LOG = logging.getLogger(__name__)

NAMESPACE = "nova.db.api"


def install(name=None, trusts=None):
    """Install what ``[nova_kvs] db_api`` names, unless that is ``none``.

    To be called whenever an engine is made: a process may import Nova's
    database layer after it made the first.

    :param name: what the query of a URL says instead.
    :param trusts: what it says of trust_unknown_releases, as text.
    :raises nova_kvs.exceptions.ConfigurationError: if it does not load.
    """
    if name is None:
        name = conf.CONF.nova_kvs.db_api
    if name == "none":
        return
    if trusts is None:
        trusts = conf.CONF.nova_kvs.trust_unknown_releases
    else:
        trusts = strutils.bool_from_string(trusts)
    try:
        driver = stevedore.DriverManager(
            NAMESPACE, name, on_load_failure_callback=_raise).driver
    except stevedore_exception.NoMatches as error:
        raise exceptions.ConfigurationError(
            "[nova_kvs] db_api names no implementation",
            db_api=name, error=error) from error
    replaced = driver.install(trusts)
    if replaced:
        LOG.info("%d functions that ask the database are native",
                 replaced)


def _raise(manager, entry_point, error):
    raise exceptions.ConfigurationError(
        "[nova_kvs] db_api names an implementation that does not load",
        db_api=entry_point.name, error=error) from error
