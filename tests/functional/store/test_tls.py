# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs.store import registry
from tests import base
from tests import fixtures
from tests.functional.store import certificates

ITEMS = [base.command(b"SET", b"kvs:{%d}" % number, b"v")
         for number in range(8)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return certificates.make(str(tmp_path_factory.mktemp("tls")))


@pytest.fixture(scope="module")
def server(files):
    with fixtures.RedisServerFixture(tls=files) as server:
        yield server


def _options(files, **more):
    return dict(tls=True, tls_ca_file=files.ca, tls_cert_file=files.cert,
                tls_key_file=files.key, **more)


def test_client_certificate_and_authority(server, files):
    store = registry.get_store(server.url("db"), options=_options(files))
    assert store.batch(ITEMS) == [b"OK"] * 8


def test_tls_in_the_url(server, files):
    store = registry.get_store(server.url("db", **_options(files)))
    assert store.batch(ITEMS) == [b"OK"] * 8


def test_tls_in_the_configuration_file(server, files):
    options = _options(files)
    for name, value in options.items():
        conf.CONF.set_override(name, value, group=conf.GROUP)
    try:
        store = registry.get_store(server.url("file"))
        assert store.batch(ITEMS) == [b"OK"] * 8
    finally:
        for name in options:
            conf.CONF.clear_override(name, group=conf.GROUP)


def test_a_cluster_with_tls(files):
    with fixtures.RedisClusterFixture(replicas=0, tls=files) as cluster:
        store = registry.get_store(
            cluster.url("db"), options=_options(files))
        assert store.batch(ITEMS) == [b"OK"] * 8
        assert len(store.check()["servers"]) == 3


def test_what_is_remembered_of_a_server_with_tls(server, files):
    key = b"kvs:{tls}"
    value = base.command(b"GET", key)
    store = registry.get_store(
        server.url("db"), options=_options(files, read_from="memory"))
    other = registry.get_store(server.url("db"), options=_options(files))
    other.batch([base.command(b"SET", key, 1)])
    for trips in 1, 0:
        before = store.stats.round_trips
        assert store.batch([value], may_lag=True) == [b"1"]
        assert store.stats.round_trips == before + trips
    other.batch([base.command(b"SET", key, 2)])
    fixtures.wait_for(
        lambda: store.batch([value], may_lag=True) == [b"2"], "the news")
    store.close()


def test_an_unknown_authority_is_a_configuration_error(
        server, files, tmp_path):
    other = certificates.make(str(tmp_path), name="other")
    store = registry.get_store(server.url("db"), options=_options(
        files._replace(ca=other.ca)))
    with pytest.raises(exceptions.ConfigurationError, match="tls_") as caught:
        store.batch(ITEMS)
    assert "certificate verify failed" in str(caught.value)


def test_the_address_is_checked_unless_told_otherwise(tmp_path):
    files = certificates.make(str(tmp_path), address="127.9.9.9")
    with fixtures.RedisServerFixture(tls=files) as server:
        # The fixture's own client does not check it.
        store = registry.get_store(
            server.url("db"), options=_options(files))
        with pytest.raises(exceptions.ConfigurationError, match="tls_"):
            store.batch(ITEMS)
        store = registry.get_store(server.url("db"), options=_options(
            files, tls_check_hostname=False))
        assert store.batch(ITEMS) == [b"OK"] * 8


def test_a_missing_client_certificate(server, files):
    store = registry.get_store(server.url("db"), options=dict(
        tls=True, tls_ca_file=files.ca))
    with pytest.raises((exceptions.ConfigurationError,
                        exceptions.StoreUnavailableError)):
        store.batch(ITEMS)


def test_tls_to_a_server_without(files):
    with fixtures.RedisServerFixture() as server:
        store = registry.get_store(
            server.url("db"), options=_options(files))
        with pytest.raises((exceptions.ConfigurationError,
                            exceptions.StoreUnavailableError)):
            store.batch(ITEMS)


def test_no_tls_to_a_server_with(server):
    store = registry.get_store(server.url("db"))
    with pytest.raises(exceptions.StoreUnavailableError):
        store.batch(ITEMS)
