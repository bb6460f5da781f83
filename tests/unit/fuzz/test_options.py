# SPDX-License-Identifier: Apache-2.0
"""Odd values of options: each is taken, or has one clear error."""

import copy
import math
from unittest import mock
from urllib import parse

import hypothesis
from hypothesis import strategies as st
from oslo_config import cfg

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs.store import url as store_url
from tests.unit.fuzz import amounts

OPTIONS = st.sampled_from(conf.OPTS)
VALUES = st.one_of(
    st.sampled_from([
        "", " ", "0", "-1", "1", "2", "1e3", "1e400", "-inf", "inf", "nan",
        "NaN", "0x10", "1_000", "٣", "1.5", "9" * 30, "true", "TRUE", "yes",
        "on", "None", "null", "kvs", "none", "master", "Master", "$$x",
        "$nova", "${x}", "%s", "{x}", "[]", "\\", "'a'", '"a"', "a,b", "é",
        "\U0001f600", "/", "/nonexistent", "~", "1 2", "\t1", "0.001"]),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]),
            max_size=8),
    st.integers().map(str), st.floats().map(str))


def check(settings):
    """Assert that nothing that takes the values can choke on them."""
    for name, value in vars(settings).items():
        if name in ("index_grace", "slow_log_threshold"):
            # It follows from others, and is no time-out; or is compared
            # with, and 0 turns it off.
            continue
        if isinstance(value, float):
            # A socket takes no time-out of more milliseconds than an int
            # has; one of nan seconds is none at all.
            assert math.isfinite(value) and 0 < value <= 10 ** 6, name
        elif isinstance(value, int):
            assert 0 <= value < 2 ** 31, name


@amounts.some(300)
@hypothesis.given(option=OPTIONS, value=VALUES)
def test_in_a_url(option, value):
    text = "kvs+redis://h/db?%s" % parse.urlencode({option.dest: value})
    try:
        settings = store_url.parse_url(text).settings()
    except exceptions.ConfigurationError as error:
        assert option.dest in str(error)
        return
    check(settings)


@amounts.some(150)
@hypothesis.given(option=OPTIONS, value=VALUES)
def test_in_a_file(option, value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "options.conf"
    path.write_text("[nova_kvs]\n%s = %s\n" % (option.dest, value))
    parser = cfg.ConfigOpts()
    # An option tells once that it is deprecated.
    parser.register_opts(copy.deepcopy(conf.OPTS), group=conf.GROUP)
    parser([], default_config_files=[str(path)], default_config_dirs=[])
    with mock.patch.object(conf, "CONF", parser):
        try:
            settings = store_url.parse_url("kvs+redis://h/db").settings()
        except exceptions.ConfigurationError as error:
            assert option.dest in str(error)
            return
    check(settings)
