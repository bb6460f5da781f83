# SPDX-License-Identifier: Apache-2.0
"""Tells numbers to people."""


def number(count, thing, things=None):
    """Return a number and what it counts: "1 key", "2 keys".

    :param things: the plural, if it is not made with an "s".
    """
    return "%d %s" % (count, thing if count == 1 else things or thing + "s")
