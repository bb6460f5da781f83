# SPDX-License-Identifier: Apache-2.0
"""Checks of what operators are told to type: it is run, in the lab."""

import re
import shlex

import sqlalchemy

from tests.functional.documentation import blocks
from tests.functional.documentation import texts


def check_cloud(lab, literals):
    """It is run on the installed cloud, and may find things to warn of."""
    check_installation(lab)
    for literal in literals:
        for command in literal.commands():
            if command.startswith("nova-kvs-status"):
                output = lab.run(lab.fill_in(command), statuses=(0, 1))
                assert "Upgrade Check Results" in output
            else:
                lab.run(lab.fill_in(command), statuses=(
                    (0, 1) if command.startswith("nova-kvs check") else (0,)))


def check_cluster(lab, literals):
    """Servers with the settings of the page become a cluster by it.

    The fixture ``Lab.cluster`` runs the blocks of this page.
    """
    servers = lab.cluster
    for node in servers.nodes:
        ask = "redis-cli -h %s -p %d " % node
        assert "cluster_state:ok" in lab.run(ask + "cluster info")
        assert "user nova on" in lab.run(ask + "ACL LIST")
        for name in blocks.first_column("doc/source/admin/redis.rst"):
            name, _, value = name.partition(" ")
            printed = lab.run(ask + "CONFIG GET " + name).splitlines()
            assert printed[0] == name and value in ("", printed[1])
    roles = [lab.run("redis-cli -h %s -p %d ROLE" % node).split()[0]
             for node in servers.nodes]
    assert sorted(roles) == 3 * ["master"] + 3 * ["slave"]


def check_installation(lab, literals=()):
    """The files configure Nova, and its commands make all databases.

    With the same cluster, each database is fit for use afterwards.
    """
    if lab.is_installed:
        return
    assert lab.is_installed is None, "the installation failed before"
    lab.is_installed = False
    nova_conf, placement_conf, commands = (
        block for block in blocks.blocks()
        if block.document == "doc/source/install/index.rst"
        and not block.text.startswith("pip"))
    home = lab.home("operator")
    texts.check_configuration(lab, [nova_conf._replace(
        text=nova_conf.text + "\n" + placement_conf.text)])
    (home / ".nova/nova.conf").write_text(lab.fill_in(nova_conf.text))
    (home / ".placement/placement.conf").write_text(
        lab.fill_in(placement_conf.text))
    for command in commands.commands():
        lab.run(lab.fill_in(command))
    urls = {url for literal in (nova_conf, placement_conf, commands)
            for url in re.findall(r"kvs\+cluster://[^\s']+", literal.text)}
    kinds = {}
    for url in urls:
        output = lab.run("nova-kvs check '%s'" % lab.fill_in(url))
        kind = re.search(r"^OK +schema: (.*), revision", output, re.M)
        assert kind, "%s\n%s" % (url, output)
        kinds[re.search(r"/(\w+)\?", url)[1]] = kind[1]
    assert kinds == {
        "nova_api": "Nova API database", "nova_cell0": "Nova cell database",
        "nova_cell1": "Nova cell database", "placement": "Placement database"}
    lab.is_installed = True


def check_session(lab, literals):
    """The commands print what is shown, but for numbers and revisions."""
    for literal in literals:
        for part in re.split(r"^\$ ", literal.text, flags=re.M)[1:]:
            command, _, shown = lab.fill_in(part).partition("\n")
            # It warns that this server has no replica.
            printed = lab.run(command, statuses=(
                (0, 1) if command.startswith("nova-kvs check") else (0,)))
            assert _without_numbers(printed) == _without_numbers(shown), (
                "%s\n%s" % (command, printed))


def _without_numbers(text):
    text = re.sub(r"revision [0-9a-f]{12}", "revision X", text.strip())
    return re.sub(r"\d+(\.\d+)*( [kMG]?B)?", "N", text)


def check_nova_kvs(lab, literals):
    """It is run on a cell database; without a URL its options exist."""
    url = lab.server.url("nova_cell1")
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        server = connection.exec_driver_sql(
            "SELECT uuid FROM instances").scalar()
    engine.dispose()
    for literal in literals:
        text = re.sub(r"\bURL(\.\.\.)?", url, literal.text)
        if text != literal.text:
            lab.run(re.sub(r"\bUUID\b", server, text), statuses=(
                (0, 1) if text.startswith("nova-kvs check") else (0,)))
            continue
        program, name, *arguments = shlex.split(text)
        printed = lab.run("%s %s --help" % (program, name))
        for option in arguments:
            if option.startswith("--"):
                assert re.search(r"^ +%s\b" % option, printed, re.M), text


def check_redis(lab, literals):
    """Redis knows the command."""
    ask = "redis-cli -h %s -p %d " % lab.cluster.nodes[0]
    for literal in literals:
        words = literal.text.removeprefix("redis-cli ")
        if words.startswith("--cluster "):
            output = lab.run("redis-cli --cluster help", statuses=(0, 1))
            assert re.search(
                r"^ +%s " % words.split()[1], output, re.MULTILINE)
        else:
            assert "ERR" not in lab.run(ask + words)
