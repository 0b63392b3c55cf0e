"""Lets every test use the plans of tests/training and exporters and the requests of planner."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / name) for name in ("training", "exporters", "planner")]

# A shell that runs the tests in the background makes them ignore Ctrl-C, and so every child; the
# tests of Ctrl-C need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest puts tests/ on the path, where the folder tests/datasets would pass for the library of
# that name; transformers is to find none.
sys.modules["datasets"] = None  # type: ignore[assignment]
