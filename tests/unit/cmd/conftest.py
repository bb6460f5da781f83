# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs.cmd import main
from nova_kvs.inspection import fsck
from tests.unit.cmd import copies


@pytest.fixture(autouse=True)
def no_margin(monkeypatch):
    """Let fsck wait no longer than it must."""
    monkeypatch.setattr(fsck, "_MARGIN_MS", 0)


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """The URL of a filled SQLite database, which nobody changes."""
    return copies.make_sqlite(
        str(tmp_path_factory.mktemp("original") / "source"), copies.SERVERS)


@pytest.fixture
def imported(original, capsys):
    """The URL of a database in the store that was imported."""
    url = copies.make_store()
    assert main.main(["import", "--from", original, "--to", url]) == 0
    capsys.readouterr()
    return url
