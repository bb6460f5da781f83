# SPDX-License-Identifier: Apache-2.0
import json
import string
from urllib import parse

import pytest
import sqlalchemy

from nova_kvs.cmd import status
from nova_kvs import conf
from nova_kvs.inspection import condition
from tests import base
from tests.unit.record import databases

CELLS_DDL = (
    "CREATE TABLE cell_mappings (id INTEGER NOT NULL PRIMARY KEY, "
    "uuid VARCHAR(36), name VARCHAR(255), database_connection TEXT)",)


@pytest.fixture
def check(tmp_path, capsys):
    """Run the command on a file of these connections."""
    def check(*arguments, **connections):
        path = tmp_path / "nova.conf"
        path.write_text("".join(
            "[%s]\nconnection = %s\n" % item for item in connections.items()))
        code = status.main([
            "--config-file", str(path), "upgrade", "check", *arguments])
        out, error = capsys.readouterr()
        assert "secret" not in out + error
        assert error == ""
        return code, out

    yield check
    conf.CONF.reset()


@pytest.fixture
def results(check):
    """Return the exit status and name -> result, details of each check."""
    def results(**connections):
        code, out = check("--json", **connections)
        return code, {
            found["check"]: (found["result"], found["details"])
            for found in json.loads(out)["checks"]}
    return results


@pytest.fixture
def lines(monkeypatch):
    """Have every database found in the same condition."""
    found = []
    monkeypatch.setattr(condition, "examine", lambda url: iter(found))
    return found


def line(name, status, text="text"):
    return condition.Line(name, condition.Status[status], text)


def test_each_database_once(results, lines):
    lines.append(line("store", "OK"))
    code, found = results(
        database="kvs+memory:///b", api_database="kvs+memory:///a\n"
        "slave_connection = kvs+memory:///b",
        placement_database="kvs+memory:///c")
    assert code == 0
    assert found == {
        "Database a ([api_database] connection)": (0, None),
        "Database b ([database] connection, "
        "[api_database] slave_connection)": (0, None),
        "Database c ([placement_database] connection)": (0, None)}


def test_readers_of_replicas_are_checked(check, lines, tmp_path):
    lines.append(line("store", "OK"))
    code, out = check(database="kvs+memory:///x\nslave_connection = "
                      "kvs+memory:///x?read_from_replicas=true")
    assert code == 0
    assert "Database x ([database] slave_connection)" in out


def test_what_is_wrong_comes_first(results, lines):
    lines += [line("store", "OK"), line("memory", "WARNING"),
              line("clock", "ERROR", "is off")]
    code, found = results(database="kvs+memory:///x")
    assert code == 2
    assert found == {"Database x ([database] connection)": (
        2, "ERROR clock: is off; WARNING memory: text")}


def test_the_name_of_no_database(check):
    code, out = check(database=base.memory_url())
    assert code == 2
    assert "Result: Failure" in out
    assert "ERROR format: the store has no database of this name" in out


@pytest.mark.parametrize("connections", [
    {}, {"database": "mysql+pymysql://u:secret@h/x"}])
def test_nothing_to_check_is_a_failure(connections, results):
    code, found = results(**connections)
    assert (code, list(found)) == (2, ["Databases"])


@pytest.mark.parametrize("url", [
    "kvs+redis://u:secret@h:x/y", "kvs+redis://u:secret@h/",
    "kvs+redis://u:secret@h/x?nonsense=1", "kvs+nonsense://u:secret@h/x",
    "kvs+redis://u:secret@h/x?hint_grace=3"])
def test_a_wrong_url_is_a_failure(url, results):
    code, found = results(database=url)
    assert code == 2
    (name, (result, details)), = found.items()
    assert "[database] connection" in name
    assert (result, details is None) == (2, False)


def cells(**connections):
    """Return the URL of an API database with these cells."""
    url = base.memory_url()
    db = databases.make(url=url, ddl=CELLS_DDL)
    databases.insert(db, "cell_mappings", *(
        {"id": number, "uuid": "u%d" % number, "name": name or None,
         "database_connection": connection}
        for number, (name, connection) in enumerate(connections.items())))
    return url


def test_the_cells_databases(results, lines):
    lines.append(line("store", "OK"))
    api = cells(
        cell0="kvs+memory:///zero", old="mysql://u:secret@h/x",
        one="{scheme}:///{path}_cell1?{query}", **{"": "kvs+memory:///two"})
    code, found = results(
        database="kvs+memory:///zero?tls=false", api_database=api)
    assert code == 0
    assert [name.partition(" (")[2] for name in found] == [
        "[database] connection)", "[api_database] connection)",
        "cell cell0)", "cell one)", "cell u3)"]
    assert "Database zero_cell1 (cell one)" in found


@pytest.mark.parametrize("template", [
    "{nonsense}", "{0}", "{scheme", "{scheme.x}", "kvs+memory:///{port}/x"])
def test_a_cell_with_a_wrong_url(template, results, lines):
    lines.append(line("store", "OK"))
    code, found = results(database="kvs+memory:///x",
                          api_database=cells(bad=template))
    assert code == 2
    assert found["Database of cell bad"][0] == 2


def derived(connection):
    """Return the URL that map_cell0 makes of [database] connection.

    :source: nova.cmd.manage.CellV2Commands._map_cell0
    """
    url = sqlalchemy.make_url(connection)
    url = url.set(database=url.database + "_cell0")
    return parse.unquote(url.render_as_string(hide_password=False))


@pytest.mark.parametrize("password", [
    "a%sb" % character for character in string.punctuation] + ["a%41", "b{}"])
def test_the_cells_that_nova_manage_writes(password, monkeypatch, results):
    """Each service and each check sees the same, or is told how to quote."""
    seen = []
    monkeypatch.setattr(condition, "examine", lambda url: (
        seen.append(url), line("store", "OK"))[1:])
    connection = "kvs+redis://u:%s@h/cell1" % parse.quote(password, safe="")
    code, found = results(
        # oslo.config's own quoting
        database=connection.replace("$", "$$"),
        api_database=cells(cell0=derived(connection), cell1=connection))
    by_name = {url.database: url.password for url in seen}
    assert by_name["cell1"] == password
    # Nova decodes the password twice.
    is_spoiled = password == "a%41"
    assert (by_name["cell1_cell0"] == password) is not is_spoiled
    assert ("URL of cell cell0" in found) is is_spoiled
    assert code == (2 if is_spoiled else 0)


def test_doubled_braces_are_not_what_nova_reads(results, lines):
    lines.append(line("store", "OK"))
    code, found = results(
        database="kvs+memory:///x",
        api_database=cells(one="kvs+redis://u:secret{{1}}@h/y"))
    assert code == 2
    assert "%7B" in found["URL of cell one"][1]


def test_cells_that_cannot_be_read(results):
    code, found = results(
        api_database="kvs+sentinel://u:secret@h/x")
    assert code == 2
    assert found["Cell mappings"][0] == 2
    assert found["Database x ([api_database] connection)"][0] == 2


def test_an_api_database_without_tables(results):
    code, found = results(api_database=base.memory_url())
    assert (code, len(found)) == (2, 1)


def test_the_options_of_the_services_apply(check, lines, monkeypatch):
    lines.append(line("store", "OK"))
    check(database="kvs+memory:///x\n[nova_kvs]\nuser = nova")
    assert conf.CONF.nova_kvs.username == "nova"


def test_placement_has_only_what_its_url_says(check, monkeypatch):
    def examine(url):
        settings = url.settings()
        found[url.database] = settings.username, settings.pool_size
        return [line("store", "OK")]

    found = {}
    monkeypatch.setattr(condition, "examine", examine)
    check(database="kvs+memory:///x",
          placement_database="kvs+memory:///y?pool_size=3\n"
          "[nova_kvs]\nuser = nova\npool_size = 5")
    assert found == {"x": ("nova", 5), "y": (None, 3)}


def test_an_unexpected_fault(check, monkeypatch):
    def examine(url):
        raise ZeroDivisionError
    monkeypatch.setattr(condition, "examine", examine)
    code, out = check(database="kvs+memory:///x")
    assert code == 2
    assert "ZeroDivisionError" in out


def test_a_missing_file_is_one_line(capsys, tmp_path):
    code = status.main([
        "--config-file", str(tmp_path / "x"), "upgrade", "check"])
    out, error = capsys.readouterr()
    assert (code, out, error.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("main, is_told", [
    ("kvs+cluster://u:secret1@a:1/main?node=c:3&node=d:4", True),
    # The same password, another user, another store.
    ("kvs+cluster://u:secret2@a:1/main", False),
    ("kvs+cluster://v:secret1@a:1/main", False),
    ("kvs+cluster://u:secret1@e:1/main", False),
    ("kvs+redis://u:secret1@a:1/main", False)])
def test_one_user_with_two_passwords(main, is_told, results, lines):
    lines.append(line("store", "OK"))
    code, found = results(
        placement_database="kvs+cluster://u:secret2@b:2/p?node=a:1&node=c:3",
        database=main)
    assert code == int(is_told)
    name = "Password of [placement_database] connection"
    assert (name in found) == is_told
    if is_told:
        assert "not that of [database] connection" in found[name][1]
