"""Ctrl-C while workers start, addresses that are none, and workers of another buildex."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import pytest

from buildex.errors import ClusterError
from buildex.io.cluster import _done, _held_back, workers_at


def interrupted(reached, then=None):
    with _held_back():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(1)
        if then is not None:
            raise then


def test_ctrl_c_waits_and_is_not_lost():
    reached, before = [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupted(reached)
    assert reached == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_what_breaks_after_ctrl_c_is_its_doing_and_nothing_else_is():
    with pytest.raises(KeyboardInterrupt):
        interrupted([], RuntimeError("a worker heard it, too"))
    with pytest.raises(RuntimeError), _held_back():
        raise RuntimeError("no memory")


def test_workers_of_this_machine_are_deaf():
    code = "import buildex.io.deaf, os, signal; os.kill(os.getpid(), signal.SIGINT); print('on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("on\n", 0)


@pytest.mark.parametrize("address", ["foo", "127.0.0.1", "tcp://host", "host:8786"])
def test_what_is_no_address_is_told_at_once(address):
    with pytest.raises(ClusterError, match="no address of a scheduler"), workers_at(address):
        pass


class Worker:
    address = "tcp://there:1"


def test_another_buildex_is_told_before_a_worker_looks_at_its_work(monkeypatch):
    monkeypatch.setattr("distributed.get_worker", Worker)
    task = pickle.dumps(("0.1.0+pulled", b"what only that one can read"))
    with pytest.raises(ClusterError, match=r"`tcp://there:1` has .*, this machine 0\.1\.0\+pulled"):
        _done(task)
