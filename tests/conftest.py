"""Lets every test use the tiny model and plan of tests/training/tiny.py."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "training"))

# A shell that runs the tests in the background makes them ignore Ctrl-C, and so every child; the
# tests of Ctrl-C need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest puts tests/ on the path, where the folder tests/datasets would pass for the library of
# that name; transformers is to find none.
sys.modules["datasets"] = None  # type: ignore[assignment]
