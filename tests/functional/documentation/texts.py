# SPDX-License-Identifier: Apache-2.0
"""Checks of literal blocks that are no commands."""

import fnmatch
import inspect
import re
import tomllib

from nova_kvs.record import access
from nova_kvs.store import base as store_base
from nova_kvs.store import url as store_url
from nova_kvs.txn import mutation
from tests.functional.documentation import blocks
from tests.nova import report

#: What is behind the names in front of a parenthesis in the design.
_CALLABLES = {
    "Mutation": mutation.Mutation,
    "store.batch": store_base.Store.batch,
    **{cls.__name__: cls for cls in (
        access.ByPartition, access.ByKey, access.ByIndex, access.ByRange,
        access.FullScan, access.PartitionsOf, access.InPartitions,
        access.Page, access.DeletedRows, access.ByIdRange,
        access.ByEntries)},
}


def check_explanation(lab, literals):
    """Nothing: a picture or a form for people, which no program reads."""


def check_configuration(lab, literals):
    """oslo.config knows every option, and accepts its value.

    Among the options of Nova, Placement, oslo.db and nova-kvs, as
    ``oslo-config-validator`` finds them.
    """
    for literal in literals:
        path = lab.home("operator") / "sample.conf"
        path.write_text(literal.text + "\n")
        namespaces = ("nova.conf", "placement.conf", "oslo.db",
                      "oslo.messaging", "oslo.log", "nova_kvs")
        lab.run("oslo-config-validator --input-file %s %s" % (
            path, " ".join("--namespace " + name for name in namespaces)))


def check_url_forms(lab, literals):
    """The shortest and the longest URL of each form are the same store."""
    for literal in literals:
        for form in literal.text.splitlines():
            form = form.replace("&...", "").replace("host:port", "other:7000")
            longest = form.replace("[", "").replace("]", "")
            shortest, nested = form, None
            while shortest != nested:
                nested = shortest
                shortest = re.sub(r"\[[^][]*\]", "", nested)
            parsed = [store_url.parse_url(url) for url in (shortest, longest)]
            assert parsed[0].nodes == parsed[1].nodes[:1]
            assert parsed[0].database == parsed[1].database == "name"
            assert parsed[0].driver == parsed[1].driver
            assert parsed[0].username is None
            if "user" in form:
                assert parsed[1].username == "user"
                assert parsed[1].password == "password"


def urls():
    """Return every complete URL of a store in the documentation."""
    found = set()
    for literal in [*blocks.blocks(), *blocks.inline()]:
        for url in re.findall(r"kvs\+\w+://[^\s'\"]+", literal.text):
            if re.search(r"//[^/[]*/\w[^[]*$", url):
                found.add(url)
    return sorted(found)


def check_signatures(lab, literals):
    """The code has these parameters, in this order."""
    checked = 0
    for literal in literals:
        # Without the explanations on the right.
        text = re.sub(r"(?<=\S) {3,}.*", "", literal.text)
        for name, written in re.findall(
                r"^([A-Z]\w+|store\.\w+)\(((?:[^()]|\(\))*)\)", text,
                re.MULTILINE):
            # Python reads it as the head of a function.
            scope = {}
            exec("from __future__ import annotations\n"
                 "def stated(%s): pass" % written, scope)
            stated = list(inspect.signature(
                scope["stated"]).parameters.values())
            actual = list(inspect.signature(
                _CALLABLES[name]).parameters.values())
            if actual[0].name == "self":
                del actual[0]
            assert [(one.name, one.kind) for one in stated] == [
                (one.name, one.kind) for one in actual], name
            checked += 1
    assert checked >= len(literals)


def check_metrics(lab, literals):
    """The page's table has each metric of the expressions."""
    for literal in literals:
        names = set(re.findall(r"\bnova_kvs_\w+", literal.text))
        assert names and names <= set(blocks.first_column(literal.document))


def check_histograms(lab, literals):
    """The page's table has each histogram of the expressions."""
    for literal in literals:
        names = {re.sub(r"_(bucket|sum|count)$", "", name) for name
                 in re.findall(r"\bnova_kvs_\w+", literal.text)}
        assert names and names <= set(blocks.first_column(literal.document))


def check_excluded_tests(lab, literals):
    """Each test is in the list of those that may fail."""
    with open(report.EXCLUDED, "rb") as stream:
        patterns = [pattern for entry in tomllib.load(stream)["excluded"]
                    for pattern in entry["tests"]]
    for literal in literals:
        for name in literal.text.split():
            assert any(fnmatch.fnmatchcase(name, pattern)
                       for pattern in patterns), name
