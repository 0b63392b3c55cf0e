"""The last words of a verb that Ctrl-C, a scheduler or a closed terminal ended."""

from __future__ import annotations

import os
import sys

from tsplanner.processes.signals import interrupted_status, interrupted_words


def say_interrupted(error: KeyboardInterrupt, advice: str) -> int:
    """Print what happened and how to go on; the exit status of the verb."""
    try:
        print(f"\n{interrupted_words(error)}. {advice}", flush=True)
    except OSError:  # the terminal or the reader is gone
        # Python would try to write what is left at its exit, and end with another status.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return interrupted_status(error)
