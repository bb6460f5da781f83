# SPDX-License-Identifier: Apache-2.0
"""The links between the sites of an experiment."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from experiments import network as networks

_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
    sock.sendall(b"ping")
    print(sock.recv(10).decode(), sock.getpeername()[0])
"""
_TIMEOUT_S = 30


@pytest.fixture
def network():
    with networks.Network(2) as network:
        yield network


@pytest.fixture
def port(network):
    """Port of a server on site 1 that sends back what it gets."""
    with socket.create_server((networks.address(1), 0)) as listener:
        number = listener.getsockname()[1]
        network.serve(1, number)
        threading.Thread(target=_echo, args=(listener,), daemon=True).start()
        yield number


def _echo(listener):
    while True:
        try:
            sock, _peer = listener.accept()
        except OSError:
            return  # the test is over
        with sock:
            while data := sock.recv(1024):
                sock.sendall(data)


def _connect(network, port):
    return socket.create_connection(
        (network.seen_from(0, 1), port), timeout=_TIMEOUT_S)


def test_what_passes_is_counted(network, port):
    with _connect(network, port) as sock:
        for _ in range(3):
            sock.sendall(b"ping")
            assert sock.recv(10) == b"ping"
    assert network.take_stats()["0-1"] == {
        "connections": 1, "round_trips": 3, "bytes": 24}
    assert network.take_stats()["0-1"]["bytes"] == 0


def test_what_is_sent_during_a_cut_arrives_later(network, port):
    with _connect(network, port) as sock:
        sock.sendall(b"a")
        assert sock.recv(10) == b"a"
        network.cut(1)
        sock.sendall(b"b")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(10)
        sock.settimeout(_TIMEOUT_S)
        network.heal(1)
        assert sock.recv(10) == b"b"


@pytest.mark.parametrize("site", [0, 1])
def test_processes_are_routed_by_their_site(network, port, site):
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, networks.address(1), str(port)],
        env={**os.environ, **network.env(site)}, timeout=_TIMEOUT_S,
        check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["ping", network.seen_from(site, 1)]
    connections = network.take_stats()["0-1"]["connections"]
    assert connections == (1 if site == 0 else 0)
