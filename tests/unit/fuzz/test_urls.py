# SPDX-License-Identifier: Apache-2.0
"""URLs say the same wherever they are read, and never show a password."""

from urllib import parse

import hypothesis
from hypothesis import strategies as st
import sqlalchemy

from nova_kvs import exceptions
from nova_kvs.store import url as store_url
from tests.unit.fuzz import amounts

NAMES = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-",
    min_size=1, max_size=64)
HOSTS = st.one_of(
    st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?\Z"),
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
NODES = st.tuples(HOSTS, st.integers(1, 65535))
#: No text that UTF-8 has no bytes for.
SECRETS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
QUERIES = st.fixed_dictionaries({}, optional={
    "tls": st.booleans(), "pool_size": st.integers(1, 99),
    "connect_timeout": st.floats(0.01, 99), "tls_ca_file": SECRETS.filter(
        lambda text: text != ""), "db_api": st.sampled_from(["kvs", "none"]),
    "read_from": st.sampled_from(["master", "nearest", "memory"])})


def netloc(node):
    return ("[%s]:%d" if ":" in node[0] else "%s:%d") % node


@amounts.some(200)
@hypothesis.given(user=SECRETS, password=st.none() | SECRETS,
                  nodes=st.lists(NODES, min_size=1, max_size=4, unique=True),
                  name=NAMES, query=QUERIES)
def test_a_url_comes_back(user, password, nodes, name, query):
    login = parse.quote(user, safe="")
    if password is not None:
        login += ":" + parse.quote(password, safe="")
    options = [("node", netloc(node)) for node in nodes[1:]] + [
        (option, str(value)) for option, value in query.items()]
    text = "kvs+cluster://%s%s/%s%s" % (
        login + "@" if login else "", netloc(nodes[0]), name,
        "?" + parse.urlencode(options) if options else "")
    found = store_url.parse_url(text)
    assert found.username == (user or None)
    assert found.password == password
    assert found.database == name
    assert found.query == query
    assert found.nodes == tuple(dict.fromkeys(nodes))
    # As services and nova-manage hand it over.
    made = sqlalchemy.make_url(text)
    assert store_url.parse_url(made) == found
    assert store_url.parse_url(
        made.render_as_string(hide_password=False)) == found
    shown = store_url.parse_url(str(found))
    assert shown == found._replace(
        password=None if password is None else "***")
    settings = found.settings()
    assert (settings.username, settings.password) == (user or None, password)


@amounts.some(500)
@hypothesis.given(start=st.sampled_from([
    "kvs+cluster://nova:s3cr3t@10.0.0.1:7000/cell1?node=10.0.0.2:7000",
    "kvs+redis://:s3cr3t@[::1]/db?tls=true&pool_size=3",
    "kvs+sentinel://h/db?service=m&node=u:s3cr3t@g",
    "kvs+memory:///db", "kvs://u:s3cr3t@h"]), changes=st.lists(st.tuples(
        st.integers(0, 70), st.integers(0, 3), st.one_of(
            st.text(max_size=2), st.sampled_from([
                "@", ":", "/", "?", "#", "%", "&", "=", "[", "]", "\\", "://",
                "+", " ", "\n", "%00", "%ff", "99999", "node=", "\ud800"]))),
        max_size=4))
def test_any_text_is_a_url_or_has_one_clear_error(start, changes):
    text = start
    for at, gone, new in changes:
        text = text[:at] + new + text[at + gone:]
    try:
        found = store_url.parse_url(text)
    except exceptions.ConfigurationError as error:
        # Where the password is one.
        if text.count("s3cr3t@") == 1 and "@" not in text.replace(
                "s3cr3t@", "") and ":s3cr3t" in text:
            assert "s3cr3t" not in str(error)
        assert "\n" not in str(error).replace(text, "").strip() or (
            "\n" in text)
        return
    assert found.database and (found.nodes or found.driver == "memory")
    assert "s3cr3t" not in str(found) or found.password != "s3cr3t"
    assert store_url.parse_url(sqlalchemy.make_url(text)).nodes == found.nodes
