"""What holds for every test."""

from __future__ import annotations

import os
import signal
import sys

import pytest

# A shell that runs the tests in the background makes them ignore Ctrl-C, and so every child; the
# tests of Ctrl-C need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A child that may not keep what it compiled compiles the program whenever it starts, and hundreds
# of tests start one.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


# Tests run side by side, one on each core: no library may take them all for itself.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _state_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test writes into the state folder of the person who runs it."""
    os.environ["TSPLANNER_STATE"] = str(tmp_path_factory.mktemp("state"))
