# SPDX-License-Identifier: Apache-2.0
import json
import pathlib

import pytest

from nova_kvs.cmd import main
from nova_kvs.inspection import sizing

ROOT = pathlib.Path(__file__).resolve().parents[3]


def run(capsys, *arguments):
    assert main.main(["plan", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_small_cloud(capsys):
    found = run(capsys, "--servers", "1000", "--hosts", "20")
    assert (found["masters"], found["replicas"]) == (3, 1)
    assert found["data_bytes"] == 7375 * 10 ** 4
    assert found["connections"] == 3 * 24 * 10
    assert found["commits_per_s"] == pytest.approx(
        20 * (0.1 + 2 / 60) + 24.4 / 6, abs=0.1)


def test_memory_asks_for_more_masters(capsys):
    found = run(capsys, "--servers", "200000", "--history", "400000",
                "--hosts", "4000")
    assert found["masters"] == 6
    assert found["masters"] * found["master_bytes"] > found["data_bytes"]


def test_work_asks_for_more_masters(capsys):
    idle = run(capsys, "--servers", "1", "--hosts", "1",
               "--boots-per-minute", "0")
    busy = run(capsys, "--servers", "1", "--hosts", "20000",
               "--boots-per-minute", "1000")
    assert idle["busy"] < busy["busy"] <= sizing.BUSY
    assert busy["masters"] > idle["masters"] == sizing.LEAST_MASTERS


def test_sites(capsys):
    assert run(capsys, "--servers", "1", "--hosts", "1", "--sites", "3")[
        "replicas"] == 2
    two = run(capsys, "--servers", "1", "--hosts", "1", "--sites", "2")
    assert "majority" in " ".join(two["notes"])
    assert run(capsys, "--servers", "1", "--hosts", "1", "--sites", "7")[
        "masters"] == 7


def test_as_text(capsys):
    assert main.main(["plan", "--servers", "20000", "--history", "40000",
                      "--hosts", "500"]) == 0
    out = capsys.readouterr().out
    assert "4.4 GB" in out
    assert "3, each with 1 replica\n" in out


@pytest.mark.parametrize("arguments", [
    ["--servers", "-1", "--hosts", "1"],
    ["--servers", "1", "--hosts", "x"],
    ["--servers", "1", "--hosts", "1", "--sites", "0"], ["--servers", "1"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["plan", *arguments])
    assert stop.value.code == 2


def test_the_manual_names_the_figures():
    page = (ROOT / "doc/source/admin/sizing.rst").read_text()
    page = " ".join(page.split())
    for text in ("%d kB for a server" % (sizing.SERVER_BYTES / 1000),
                 "12 kB each", "14 kB each", "24.4 commits",
                 "31 ms", "factor of %s" % sizing.LIKE_A_CLOUD,
                 "%d processes" % sizing.PROCESSES):
        assert text in page
