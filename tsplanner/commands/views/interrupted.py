"""The last words of a verb that Ctrl-C, a scheduler or a closed terminal ended."""

from __future__ import annotations

import json
import os
import sys

from tsplanner.processes.signals import interrupted_status, interrupted_words


def say_interrupted(error: KeyboardInterrupt, advice: str, *, as_json: bool = False) -> int:
    """Print what happened and how to go on; the exit status of the verb."""
    status, sentence = interrupted_status(error), f"{interrupted_words(error)}. {advice}"
    try:
        if as_json:
            print(f"tsplanner: {sentence}", file=sys.stderr)
            print(json.dumps({"error": sentence, "exit_status": status}), flush=True)
        else:
            print(f"\n{sentence}", flush=True)
    except OSError:  # the terminal or the reader is gone
        # Python would try to write what is left at its exit, and end with another status.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return status
