"""The last words of a verb that was ended from outside."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.support.children import INTERRUPTED
from tsplanner.commands.views.interrupted import say_interrupted
from tsplanner.processes.signals import Ended


def test_the_sentence_says_what_happened_and_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """15 is SIGTERM."""
    assert say_interrupted(Ended(15), "Go on with  tsplanner train") == 143
    assert say_interrupted(KeyboardInterrupt(), "Again.") == 130
    said = capsys.readouterr().out
    assert said == "\nEnded by SIGTERM. Go on with  tsplanner train\n\nInterrupted. Again.\n"
    assert say_interrupted(Ended(1), "Again.", as_json=True) == 129
    found = capsys.readouterr()
    assert json.loads(found.out) == {"error": "Ended by SIGHUP. Again.", "exit_status": 129}
    assert found.err == "tsplanner: Ended by SIGHUP. Again.\n"


def test_a_reader_that_is_gone_does_not_change_the_status() -> None:
    """The pipe is closed before the sentence: 143 all the same, and no traceback."""
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=20) == 143
    assert child.stderr.read() == ""
    child.stderr.close()
