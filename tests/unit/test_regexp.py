# SPDX-License-Identifier: Apache-2.0
import os
import re
import signal
import sys
import threading
import warnings

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
import pytest

from nova_kvs import regexp

ENDLESS = r"(?:a|a)*$"
VALUE = 60 * "a" + "b"
#: Pieces in which other engines than ``re`` see something else.
_pieces = st.sampled_from([
    *"ab.*+?|()[]^$-{}\\", "{e}", "{i}", "{s<=1}", "{1,2}", "[[:alpha:]]",
    "(?|", "(?i)", "(?i:", "(?>", "(?=", "(?!", "(?<=", "(?(1)", "\\1",
    "\\b", "\\d", "\\X", "\\p{L}", "(?R)", "a||b", "[a--b]", "[a&&b]",
    "*+", "++", "\\Z", "\\h", "(?P<n>", "(?P=n)", "(?#", "(?x)", "\\N{DASH}",
    "ß", "İ", "\n"])
_patterns = st.lists(_pieces, max_size=7).map("".join)
_texts = st.text("abABß-{}ei[:1İ\n", max_size=8)


@pytest.fixture
def searcher(monkeypatch):
    """A process beside this one that gives up soon."""
    made = regexp._Searcher()
    monkeypatch.setattr(regexp, "_searcher", made)
    monkeypatch.setattr(regexp, "TIMEOUT_S", 0.05)
    regexp.compiled.cache_clear()
    yield made
    regexp.compiled.cache_clear()
    made._stop()


def compiled(pattern):
    with warnings.catch_warnings(action="ignore"):
        try:
            return re.compile(pattern)
        except re.error:
            # Nova's API does not let it pass.
            hypothesis.reject()


@given(pattern=_patterns, text=_texts)
def test_matches_are_those_of_re(pattern, text):
    expected = compiled(pattern).search(text) is not None
    with warnings.catch_warnings(action="ignore"):
        found = regexp.compiled(pattern)
    assert found.matches(text) == expected
    assert not expected or found.part in text


@pytest.mark.parametrize("pattern, part", [
    ("server7$", "server7"), ("^a.bc*d", "a"), ("x[bc]ab+ab", "ab"),
    ("(?i)server", ""), ("ab|ac", "a"), ("a?(bcd)", ""), ("\\.é!", ".é!")])
def test_what_each_text_that_is_found_contains(pattern, part):
    assert regexp.compiled(pattern).part == part


@given(pattern=_patterns, text=_texts)
@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_the_process_beside_says_the_same(pattern, text, searcher):
    expected = compiled(pattern).search(text) is not None
    assert searcher.search(pattern, text) == expected


@pytest.mark.parametrize("pattern", [
    "web{i}", "{e}", "node-{s}", "x{s<=1}", "[[:alpha:]]"])
def test_nothing_is_searched_approximately(pattern):
    for name in "web", "web{i}", "xyz", "node-7", "node-{s}":
        with warnings.catch_warnings(action="ignore"):
            assert regexp.compiled(pattern).matches(name) == bool(
                re.search(pattern, name))


def test_what_is_no_expression_is_refused():
    with pytest.raises(regexp.error):
        regexp.compiled("a(")


@pytest.mark.parametrize("pattern", [
    "web", "^web-[0-9]+$", "^web.*prod", "(web|db)-(prod|test)-[0-9]+",
    "(?i)WEB", r"^\d+\.\d+$", "[a-z]+-[a-z]+-[0-9]+", "web-0?[1-5]"])
def test_what_users_write_needs_no_process(pattern, searcher):
    assert not regexp.compiled(pattern).matches(25 * "x")
    assert searcher._process is None


@pytest.mark.parametrize("pattern", [
    ENDLESS, "(a+)+$", "(a*)*$", "(a|aa)+$", "(.*a){20}$", "(a?){30}a{30}$",
    "(?:a?|b)*?c", "^((a|a)(a|a)(a|a)){10}$", "a*a*a*a*a*a*a*b$",
    "(?=(a+)+$)b", r"(a*)*\1$", "(?i)(A+)+$", "((?:){60000}){60000}"])
def test_no_endless_search_runs_in_this_process(pattern):
    expression = regexp.Expression(pattern)
    assert expression._longest < len(VALUE)


@given(pattern=_patterns, length=st.integers(0, 12))
def test_the_bound_grows_with_the_text(pattern, length):
    """Else the longest text could not be found by halving."""
    compiled(pattern)
    with warnings.catch_warnings(action="ignore"):
        tree = re._parser.parse(pattern)
    if not regexp._is_cheap(tree, length):
        assert not regexp._is_cheap(tree, length + 1)


def test_an_endless_search_is_ended(searcher, caplog):
    expression = regexp.compiled(ENDLESS)
    assert not expression.matches(VALUE)
    assert ENDLESS in caplog.text


def test_an_endless_expression_is_not_tried_again(searcher, caplog):
    assert not regexp.compiled(ENDLESS).matches(VALUE)
    assert not regexp.compiled(ENDLESS).matches(VALUE[:30])
    assert caplog.text.count(ENDLESS) == 1
    # It costs nothing to search a short text.
    assert regexp.compiled(ENDLESS).matches("a")


def test_the_process_goes_on_behind_an_endless_search(searcher):
    assert searcher.search(ENDLESS, VALUE) is None
    process = searcher._process
    assert searcher.search("(a+)+", VALUE)
    assert searcher._process is process


def test_a_process_that_was_ended_is_started_again(searcher):
    assert searcher.search("a++", "a")
    searcher._process.send_signal(signal.SIGKILL)
    searcher._process.wait()
    assert searcher.search("a++", "a")


def test_without_a_process_nothing_is_found(searcher, monkeypatch, caplog):
    monkeypatch.setattr(regexp, "_interpreter", lambda: "/nothing")
    assert not regexp.compiled("a++").matches("a")
    assert "'a++'" in caplog.text and "started" in caplog.text


def test_in_a_web_server_the_executable_is_no_python(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    found = regexp._interpreter()
    assert os.path.basename(found).startswith("python")
    assert os.path.exists(found)


def test_threads_share_the_process(searcher):
    found = []

    def search(number):
        for _turn in range(50):
            found.append(searcher.search("^%d++$" % number, str(number)))

    threads = [threading.Thread(target=search, args=(number,))
               for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == 200 * [True]


def test_behind_a_fork_each_has_its_own_process(searcher):
    assert searcher.search("a++", "a")
    searcher.forget()
    assert searcher._process is None
    assert searcher.search("a++", "b") is False


def test_without_the_parser_of_re_plain_texts_are_searched_here(monkeypatch):
    monkeypatch.setitem(sys.modules, "re._parser", None)
    assert regexp.Expression("web-1")._longest == regexp.LENGTH
    assert regexp.Expression("web-1+")._longest == -1
