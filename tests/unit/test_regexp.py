# SPDX-License-Identifier: Apache-2.0
import re
import warnings

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
import pytest

from nova_kvs import regexp

ENDLESS = r"(?:a|a)*$"
VALUE = 60 * "a" + "b"
_patterns = st.text("ab.*+?|()[]^$-", max_size=6)


@pytest.fixture
def short_timeout(monkeypatch):
    monkeypatch.setattr(regexp, "TIMEOUT_S", 0.05)
    regexp.compiled.cache_clear()


@given(pattern=_patterns, text=st.text("ab\n", max_size=6))
def test_matches_are_those_of_re(pattern, text):
    try:
        with warnings.catch_warnings(action="ignore"):
            expected = re.search(pattern, text) is not None
    except re.error:
        # Nova's API does not let it pass; regex knows more than re.
        hypothesis.reject()
    assert regexp.compiled(pattern).matches(text) == expected


def test_what_is_no_expression_is_refused():
    with pytest.raises(regexp.error):
        regexp.compiled("a(")


def test_an_endless_search_is_ended(short_timeout, caplog):
    expression = regexp.compiled(ENDLESS)
    assert not expression.matches(VALUE)
    assert ENDLESS in caplog.text


def test_an_endless_expression_is_not_tried_again(short_timeout, caplog):
    assert not regexp.compiled(ENDLESS).matches(VALUE)
    assert not regexp.compiled(ENDLESS).matches("a")
    assert caplog.text.count(ENDLESS) == 1
