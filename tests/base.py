# SPDX-License-Identifier: Apache-2.0
"""What tests of several layers share."""

import hashlib
import itertools
from nova_kvs.store.redis import raw


_numbers = itertools.count(1)


def database_name(prefix="test"):
    """Return the name of a database that no other test of the run uses."""
    return "%s-%d" % (prefix, next(_numbers))


def memory_url():
    """Return the URL of an empty embedded database."""
    return "kvs+memory:///%s" % database_name()


def script(source, writes=True, name="test"):
    """Return a script that is in no file."""
    source = source.encode()
    return raw.Script(
        name, source, hashlib.sha1(source).hexdigest().encode(), writes)


def command(name, key, *args):
    """Return a Command, its name and key given once."""
    return raw.Command(key, (name, key) + args)
