"""Which process it is, and whether it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tsplanner import identity
from tsplanner.identity import (
    Silence,
    host_identity,
    is_stopped,
    lives_here,
    node_name,
    process_space,
    started_at,
    this_process,
)


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    """The same number with another start is another process; another host's is not known here."""
    me = this_process()
    assert (me.node, me.host) == (node_name(), host_identity())
    assert lives_here(me.host, me.pid, me.started) is True
    assert lives_here(me.host, me.pid, "1") is False
    assert lives_here("elsewhere", me.pid, me.started) is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert started_at(child.pid) is None


def test_the_space_of_process_numbers_outlives_a_boot() -> None:
    """The identity of the host has the boot as well."""
    assert set(process_space().split(" ")) <= set(host_identity().split(" "))


def test_silence_grows_while_a_count_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change ends it; one look adds 30 s at most, for the observer may have been stopped."""
    now = iter((0.0, 10.0, 110.0, 120.0, 125.0, 130.0))
    monkeypatch.setattr(identity.time, "monotonic", lambda: next(now))
    silence = Silence()
    found = [silence.seconds("a", count) for count in (7, 7, 7, 8, 8)]
    assert found == [0.0, 10.0, 40.0, 0.0, 5.0]
    silence.forget()
    assert silence.seconds("a", 8) == 0.0


def test_a_process_that_a_signal_stopped_is_told_from_one_that_sleeps() -> None:
    """SIGSTOP and SIGCONT; a process that is gone is not stopped."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert not is_stopped(child.pid)
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        assert is_stopped(child.pid)
    finally:
        child.kill()
        child.wait()
    assert not is_stopped(child.pid)
