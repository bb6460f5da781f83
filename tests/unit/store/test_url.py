# SPDX-License-Identifier: Apache-2.0
import pickle
import traceback
from urllib import parse

from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg
import pytest
import sqlalchemy

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs.store import url as store_url

SECRET = "s3cr/t:@%"
QUOTED = "s3cr%2Ft%3A%40%25"


@pytest.mark.parametrize(("text", "driver", "nodes", "query"), [
    ("kvs://h/db", "redis", (("h", 6379),), {}),
    ("kvs+redis://h:1/db", "redis", (("h", 1),), {}),
    ("kvs+cluster://h/db", "cluster", (("h", 6379),), {}),
    ("kvs+cluster://h:1/db?node=g:2&node=[::1]:3&node=h:1", "cluster",
     (("h", 1), ("g", 2), ("::1", 3)), {}),
    ("kvs+cluster://[::1]:7000/db?node=g", "cluster",
     (("::1", 7000), ("g", 6379)), {}),
    ("kvs+sentinel://h/db?service=m&node=g", "sentinel",
     (("h", 26379), ("g", 26379)), {"service": "m"}),
    ("kvs+memory:///db", "memory", (), {}),
    ("kvs+redis://h/db?tls=true&pool_size=3&socket_timeout=0.5", "redis",
     (("h", 6379),), {"tls": True, "pool_size": 3, "socket_timeout": 0.5}),
])
def test_valid_urls(text, driver, nodes, query):
    url = store_url.parse_url(text)
    assert (url.driver, url.nodes, url.database, url.query) == (
        driver, nodes, "db", query)
    assert store_url.parse_url(url) is url
    assert store_url.parse_url(str(url)) == url
    assert store_url.parse_url(sqlalchemy.make_url(text)) == url


@pytest.mark.parametrize(("text", "said"), [
    ("mysql://h/db", "must start with"),
    ("kvs+redis://h", "database name"),
    ("kvs+redis://h/", "database name"),
    ("kvs+redis://h/a/b", "database name"),
    ("kvs+redis://h/a%20b", "database name"),
    ("kvs+redis:///db", "names no server"),
    ("kvs+redis://h:0/db", "port of 1 to 65535"),
    ("kvs+redis://h:65536/db", "port of 1 to 65535"),
    ("kvs+redis://h:x/db", "port of 1 to 65535"),
    ("kvs+redis://[::1/db", "host or port"),
    ("kvs+redis://h/db#x", "%23"),
    ("kvs+cluster://h/db?node=", "node=host:port"),
    ("kvs+cluster://h/db?node=g:99999", "node=host:port"),
    ("kvs+cluster://h/db?node=u:p@g:1", "node=host:port"),
    ("kvs+cluster://h/db?node=g/1", "node=host:port"),
    ("kvs+redis://h/db?node=g:1", "another driver"),
    ("kvs+cluster://h/db?service=m", "another driver"),
    ("kvs+memory://h/db", "kvs+memory:///name"),
    ("kvs+redis://h/db?tsl=true", "option=tsl"),
    ("kvs+redis://h/db?password=x", "does not exist there"),
    ("kvs+redis://h/db?pool_size=many", "option=pool_size"),
    ("kvs+redis://h/db?pool_size=0", "option=pool_size"),
    ("kvs+redis://h/db?tls=perhaps", "option=tls"),
    ("kvs+redis://h/db?tls=", "option=tls"),
    ("kvs+redis://h/\ud800", "UTF-8"),
    ("kvs+redis://u/s3cr@h/db", "%2F"),
    ("kvs+redis://h/db?s3cr@h", "%3F"),
    # What SQLAlchemy does not see the password's end in.
    ("kvs+redis://u:1@2?s3cr@h/db", "%40"),
    ("kvs+redis://u:1@2:s3cr@h/db", "map_cell0"),
    ("kvs+redis://u:1@2:3/s3cr@h/db", "map_cell0"),
    ("kvs+redis://u:1@2/s3cr@h:x/db", "map_cell0"),
    # What Nova makes of a template if [database] connection lacks a part.
    ("kvs+redis://u:s3cr@h:None/db", "{port}"),
    ("kvs+redis://h:None/db?tls=true", "{port}"),
    ("kvs+redis://u:s3cr@::1:7000/db", "[{hostname}]"),
    ("kvs+redis://fe80::1/db", "[{hostname}]"),
    ("kvs+redis://None:None@h:1/db", "{username}"),
    ("s3cr@h", "must start with"),
])
def test_wrong_urls_say_what_is_wrong(text, said):
    with pytest.raises(exceptions.ConfigurationError) as caught:
        store_url.parse_url(text)
    assert said in str(caught.value)
    assert "s3cr" not in str(caught.value)


def parsed(text):
    """Return what tools and services make of a text: both the same."""
    found = []
    for read in (store_url.parse_url,
                 lambda text: store_url.parse_url(sqlalchemy.make_url(text)),
                 lambda text: store_url.parse_url(sqlalchemy.make_url(
                     sqlalchemy.make_url(text).render_as_string(
                         hide_password=False)))):
        try:
            found.append(read(text))
        except (exceptions.ConfigurationError, ValueError):
            found.append(None)
    assert found == 3 * found[:1]
    return found[0]


@pytest.mark.parametrize("query", ["", "?node=g:2&tls=true"])
@pytest.mark.parametrize("password", [
    "1/s3cr", "1/?s3cr", "1/db?s3cr", "1#?s3cr", "1:2/s3cr", "%", "[", "\\",
    "1@s3cr", "@", "1@2/s3cr", "1@2@s3cr", "1@/s3cr", "{x}", "1+2 3"])
def test_passwords_whose_quoting_nova_has_undone(password, query):
    for port in "", ":7000":
        url = parsed("kvs+cluster://u:%s@h%s/db%s" % (password, port, query))
        assert (url.username, url.password) == ("u", password)
        assert url.nodes[0] == ("h", int(port[1:] or 6379))
        assert url.database == "db"


@given(password=st.text(max_size=8), separator=st.sampled_from(["", ":7"]))
def test_no_password_is_read_in_two_ways(password, separator):
    parsed("kvs+redis://u:%s@h%s/db" % (password, separator))
    url = parsed("kvs+redis://u:%s@h%s/db" % (
        parse.quote(password, safe=""), separator))
    assert url.password == password


@pytest.mark.parametrize("text", [
    "kvs+redis://u:%s@h:x/db", "kvs+redis://u:%s@h/", "kvs+redis://:%s@/db",
    "kvs+redis://u:%s@h/db?x=1", "kvs+memory://u:%s@h/db",
    "kvs+cluster://h/db?node=u:%s@g", "nova://u:%s@h/db"])
def test_no_error_has_the_password(text):
    with pytest.raises(exceptions.ConfigurationError) as caught:
        store_url.parse_url(text % QUOTED)
    shown = "".join(traceback.format_exception(caught.value))
    assert "s3cr" not in shown.replace(text % QUOTED, "")


def test_password_is_decoded_and_never_shown():
    url = store_url.parse_url(
        "kvs+redis://nova:%s@h/db" % QUOTED)
    assert (url.username, url.password) == ("nova", SECRET)
    settings = url.settings()
    assert (settings.username, settings.password) == ("nova", SECRET)
    for shown in (repr(url), str(url), "%s" % (url,), repr([url]),
                  repr(settings), str(settings)):
        assert "s3cr" not in shown
    assert str(url) == "kvs+redis://nova:***@h:6379/db"
    assert pickle.loads(pickle.dumps(url)) == url


def test_password_without_user():
    url = store_url.parse_url("kvs+redis://:%s@h/db" % QUOTED)
    assert (url.username, url.password) == (None, SECRET)
    assert str(url) == "kvs+redis://:***@h:6379/db"


def test_settings_prefer_overrides_then_url_then_file():
    group = conf.GROUP
    conf.CONF.set_override("pool_size", 5, group=group)
    conf.CONF.set_override("socket_timeout", 5.0, group=group)
    conf.CONF.set_override("username", "file", group=group)
    try:
        settings = store_url.parse_url(
            "kvs+redis://h/db?pool_size=6").settings()
        assert (settings.pool_size, settings.socket_timeout,
                settings.username) == (6, 5.0, "file")
        settings = store_url.parse_url(
            "kvs+redis://url@h/db?pool_size=6").settings(pool_size=7)
        assert (settings.pool_size, settings.username) == (7, "url")
    finally:
        conf.CONF.clear_override("pool_size", group=group)
        conf.CONF.clear_override("socket_timeout", group=group)
        conf.CONF.clear_override("username", group=group)


def test_unknown_override_is_refused():
    with pytest.raises(exceptions.ConfigurationError, match="option=colour"):
        store_url.parse_url("kvs+redis://h/db").settings(colour="red")


@pytest.mark.parametrize("query, expected", [
    ("", "master"), ("read_from=replica", "replica"),
    ("read_from_replicas=true", "replica"),
    ("read_from_replicas=false", "master"),
    ("read_from=nearest", "nearest"),
    ("read_from=nearest&read_from_replicas=true", "replica")])
def test_replicas_are_one_of_the_places_to_read_from(query, expected):
    url = store_url.parse_url("kvs+cluster://h/db?" + query)
    assert url.settings().read_from == expected


def test_the_url_wins_over_the_old_name_in_the_file():
    conf.CONF.set_override("read_from_replicas", True, group=conf.GROUP)
    try:
        url = store_url.parse_url("kvs+cluster://h/db")
        assert url.settings().read_from == "replica"
        assert url.settings(read_from="memory").read_from == "memory"
    finally:
        conf.CONF.clear_override("read_from_replicas", group=conf.GROUP)


@pytest.mark.parametrize("query, expected", [
    ("", 60), ("transaction_lifetime=20", 120), ("request_timeout=30", 100),
    ("transaction_lifetime=1&request_timeout=1", 7), ("hint_grace=70", 70)])
def test_the_grace_follows_from_the_other_times(query, expected):
    url = store_url.parse_url("kvs+redis://h/db?" + query)
    assert url.settings().index_grace == expected


def test_old_names_in_a_url_are_told_once(caplog):
    store_url._warn_of.cache_clear()
    for _ in range(2):
        store_url.parse_url(
            "kvs+redis://u:s3cr@h/db?read_from_replicas=true&hint_grace=70"
            "&id_block_size=4&pool_size=3")
    assert [record.args[0] for record in caplog.records] == [
        "read_from_replicas", "hint_grace", "id_block_size"]
    assert "read_from = replica" in caplog.text
    assert "s3cr" not in caplog.text


@pytest.mark.parametrize("query", [
    "connect_timeout=nan", "socket_timeout=inf", "socket_timeout=3e6",
    "pool_size=99999999999", "transaction_lifetime=", "commit_replicas="])
def test_numbers_that_no_socket_takes(query):
    url = store_url.parse_url("kvs+redis://h/db?" + query)
    with pytest.raises(exceptions.ConfigurationError) as caught:
        url.settings()
    assert "option=" + query.partition("=")[0] in str(caught.value)


def test_a_dollar_in_a_file_is_told_without_the_password(tmp_path,
                                                         monkeypatch):
    path = tmp_path / "nova.conf"
    path.write_text("[nova_kvs]\npassword = pa$s3cr\n")
    parser = cfg.ConfigOpts()
    conf.register_opts(parser)
    parser([], default_config_files=[str(path)])
    monkeypatch.setattr(conf, "CONF", parser)
    with pytest.raises(exceptions.ConfigurationError,
                       match="as '\\$\\$' .option=password.") as caught:
        store_url.parse_url("kvs+redis://h/db").settings()
    assert "s3cr" not in str(caught.value)


def test_hints_must_outlive_transactions():
    url = store_url.parse_url(
        "kvs+redis://h/db?hint_grace=5&transaction_lifetime=5")
    with pytest.raises(exceptions.ConfigurationError, match="hint_grace=5"):
        url.settings()


def test_sockets_of_the_host_are_refused():
    with pytest.raises(exceptions.ConfigurationError, match="by TCP only"):
        store_url.parse_url("kvs+unix:///var/run/redis.sock")
