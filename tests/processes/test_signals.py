"""SIGTERM and SIGHUP are interruptions with a status of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.children import INTERRUPTED
from tsplanner.processes.signals import (
    Ended,
    interrupted_status,
    interrupted_words,
    signals_as_interrupts,
)


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (signal.SIGTERM, 143, "Ended by SIGTERM."),
        (signal.SIGHUP, 129, "Ended by SIGHUP."),
        (signal.SIGINT, 130, "Interrupted."),
    ],
)
def test_each_signal_ends_with_its_sentence_and_its_status(
    number: int, status: int, words: str
) -> None:
    """128 and the signal's number, as shells count: 15, 1 and 2."""
    # Tests that run under nohup hand down that SIGHUP is ignored.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(number, before)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    said, _ = child.communicate(timeout=20)
    assert child.returncode == status
    assert said == f"\n{words} Go on.\n"


def test_nohup_is_left_as_it_is() -> None:
    """What was ignored from the start goes on being ignored; afterwards all is as before."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupts():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            with pytest.raises(Ended) as raised:
                signal.raise_signal(signal.SIGTERM)
        assert interrupted_status(raised.value) == 143
        assert interrupted_words(raised.value) == "Ended by SIGTERM"
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert interrupted_status(KeyboardInterrupt()) == 130
