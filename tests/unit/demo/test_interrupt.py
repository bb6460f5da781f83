# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import textwrap

from nova_kvs.demo import interrupt


def interrupted(body):
    """Run code in a process of its own; return it once it has ended."""
    code = textwrap.dedent("""
        import os, signal, sys
        from nova_kvs.demo import interrupt
        def cleanup():
            os.write(1, b"cleaned")
        with interrupt.Interrupt(cleanup) as stop:
    """) + textwrap.indent(textwrap.dedent(body), "    ")
    return subprocess.run([sys.executable, "-c", code], timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)


def test_ends_on_the_spot_while_nothing_runs():
    done = interrupted("""
        os.kill(os.getpid(), signal.SIGINT)
        print("not reached")
    """)
    assert done.returncode == 130
    assert done.stdout == "cleaned"
    assert done.stderr == "\n"


def test_second_signal_ends_on_the_spot():
    done = interrupted("""
        stop.is_orderly = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(0)
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached")
    """)
    assert done.returncode == 143
    assert done.stdout == "cleaned"


def test_first_signal_only_asks():
    previous = signal.getsignal(signal.SIGINT)
    with interrupt.Interrupt(lambda: None) as stop:
        stop.is_orderly = True
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(0)
        assert stop.status == 130
    assert signal.getsignal(signal.SIGINT) is previous
