# SPDX-License-Identifier: Apache-2.0
import importlib.metadata

from oslo_config import cfg
from oslo_log import versionutils
import pytest

from nova_kvs import conf
from nova_kvs.store import url


def test_options_are_found_by_oslo_config_generator():
    entry_point, = importlib.metadata.entry_points(
        group="oslo.config.opts", name="nova_kvs")
    (group, options), = entry_point.load()()
    assert (group.name, options) == ("nova_kvs", conf.OPTS)
    assert group.help


@pytest.mark.parametrize("opt", conf.OPTS, ids=lambda opt: opt.dest)
def test_every_option_is_explained(opt):
    assert opt.help and opt.help.endswith(".")


def test_passwords_are_secret():
    secret = {opt.dest for opt in conf.OPTS if opt.secret}
    assert secret == {"password", "sentinel_password"}
    assert secret <= conf.NOT_IN_QUERY


def test_register_opts_gives_the_group_with_its_defaults():
    parser = cfg.ConfigOpts()
    conf.register_opts(parser)
    parser([])
    assert parser.nova_kvs.db_api == "kvs"
    assert parser.nova_kvs.commit_replicas == 0
    assert parser.nova_kvs.password is None


def test_an_unreachable_store_is_given_up_within_ten_seconds():
    parser = cfg.ConfigOpts()
    conf.register_opts(parser)
    parser([])
    # The last attempt starts before request_timeout is over; it may have to
    # connect, and what it waits for then ends with request_timeout.
    assert (parser.nova_kvs.request_timeout
            + parser.nova_kvs.connect_timeout) <= 10


def test_the_grace_is_longer_than_a_transaction():
    settings = url.parse_url("kvs+redis://h/x").settings()
    # Both the index entries and the commit behind them may be repeated that
    # long.
    assert settings.index_grace > (
        settings.transaction_lifetime + 2 * settings.failover_timeout)


def test_old_names_of_options_work(tmp_path, caplog, monkeypatch):
    # Each is told once a process, and another test may have used one.
    monkeypatch.setattr(versionutils, "_deprecated_messages_sent", {})
    path = tmp_path / "nova.conf"
    path.write_text("[nova_kvs]\nuser = a\nsentinel_user = b\n"
                    "hint_grace = 70\nid_block_size = 5\n"
                    "read_from_replicas = true\n")
    parser = cfg.ConfigOpts()
    conf.register_opts(parser)
    parser([], default_config_files=[str(path)])
    options = parser.nova_kvs
    assert (options.username, options.sentinel_username, options.hint_grace,
            options.id_block_size, options.read_from_replicas) == (
        "a", "b", 70, 5, True)
    for name in "user", "sentinel_user", "hint_grace", "id_block_size":
        assert '"%s"' % name in caplog.text


def test_what_tunes_is_advanced():
    known = {opt.dest: opt.advanced for opt in conf.OPTS
             if not opt.deprecated_for_removal}
    assert known["request_timeout"] and known["transaction_lifetime"]
    assert not known["username"] and not known["read_from"]
