# SPDX-License-Identifier: Apache-2.0
import importlib.metadata

from oslo_config import cfg
import pytest

from nova_kvs import conf


def test_options_are_found_by_oslo_config_generator():
    entry_point, = importlib.metadata.entry_points(
        group="oslo.config.opts", name="nova_kvs")
    assert entry_point.load()() == [("nova_kvs", conf.OPTS)]


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


def test_hint_grace_is_longer_than_a_transaction():
    parser = cfg.ConfigOpts()
    conf.register_opts(parser)
    parser([])
    options = parser.nova_kvs
    # Both the hints and the commit behind them may be repeated that long.
    assert options.hint_grace > (
        options.transaction_lifetime + 2 * options.request_timeout)
