"""What holds for every test."""

from __future__ import annotations

import signal

# A shell that runs the tests in the background makes them ignore Ctrl-C, and so every child; the
# tests of Ctrl-C need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
