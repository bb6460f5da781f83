# SPDX-License-Identifier: Apache-2.0
"""What stands in the documentation for an operator's own values."""

import re

from tests.functional.documentation import blocks


def cluster(nodes):
    """Return substitutions for the nodes of a Redis Cluster.

    :param nodes: three masters and three replicas, as (host, port).
    """
    names = [("10.0.0.%d" % (number % 3 + 1), 7000 + number // 3)
             for number in range(6)]
    found = {}
    for name, node in zip(names, nodes):
        found["%s:%d" % name] = "%s:%d" % node
        found["-h %s -p %d" % name] = "-h %s -p %d" % node
    return found


def server(node):
    """Return substitutions for a single server with the default port."""
    return {
        "kvs+redis://127.0.0.1/": "kvs+redis://%s:%d/" % node,
        "127.0.0.1:6379": "%s:%d" % node,
    }


def sql(url):
    """Return substitutions for an SQL server.

    :param url: of a database, without its name.
    """
    return {"mysql+pymysql://nova:secret@10.0.0.9/": url}


def host(home):
    """Return substitutions for what any host has."""
    return {
        "/etc/nova/nova.conf": str(home / ".nova/nova.conf"),
        "/etc/placement/placement.conf":
            str(home / ".placement/placement.conf"),
        "/opt/nova/share/bash-completion/completions":
            str(blocks.ROOT / "nova_kvs/cmd/completions"),
        "/path/to/the/clone": str(home / "clone"),
        "rabbit://...": "rabbit://guest:guest@127.0.0.1:5672/",
    }


def fill_in(text, substitutions):
    """Return a text with what takes the placeholders' places.

    :raises AssertionError: if an address of the documentation is left.
    """
    names = sorted(substitutions, key=len, reverse=True)
    text = re.sub("|".join(map(re.escape, names)),
                  lambda found: substitutions[found[0]], text)
    left = re.findall(r"\b10\.0\.0\.\d+(?::\d+)?|\.\.\.", text)
    assert not left, "nothing stands for %s in %s" % (left, text)
    return text
