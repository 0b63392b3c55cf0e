"""The recording process: ``python -m tsplanner.tracing.recording.server``.

It reads one question per line from stdin and writes one answer per line to stdout, until stdin
ends. It stays for all questions of a command, since importing torch takes longer than recording.
"""

from __future__ import annotations

import os
import sys
import traceback

import msgspec

from tsplanner.errors import TsplannerError
from tsplanner.tracing.recording.messages import Answer, Ask
from tsplanner.training.worker import environment_variables

THREADS = 1
"""Threads of torch: no values are computed, so more threads would only wait."""
LAST_WORDS = 300
"""Characters of an unexpected error that are told."""


def main() -> int:
    """Answer every question of stdin."""
    # Libraries print to stdout as they like; answers have a file of their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    environment_variables.set_defaults()
    import torch

    torch.set_num_threads(THREADS)
    known: dict[str, object] = {}
    for line in sys.stdin.buffer:
        ask = msgspec.json.decode(line, type=Ask)
        answers.write(msgspec.json.encode(answer(ask, known)) + b"\n")
        answers.flush()
    return 0


def answer(ask: Ask, known: dict[str, object]) -> Answer:
    """The answer to one question; ``known`` keeps what was found of models."""
    from tsplanner.tracing.model import MissingPackageError
    from tsplanner.tracing.recording.stranger import Stranger

    try:
        stranger = known.get(ask.key)
        if not isinstance(stranger, Stranger):
            stranger = known[ask.key] = Stranger(ask.subject)
        if ask.recipe is None:
            return Answer(architecture=stranger.describe(ask.name, ask.key))
        return Answer(recording=stranger.record(ask.recipe))
    except MissingPackageError as error:
        return Answer(error=str(error), lasting=False)
    except TsplannerError as error:
        return Answer(error=str(error))
    except Exception as error:
        traceback.print_exc()
        text = (str(error).strip() or "no message").splitlines()[0]
        words = f"The trace failed ({type(error).__name__}: {text[:LAST_WORDS]})."
        return Answer(error=words, lasting=False)


if __name__ == "__main__":
    sys.exit(main())
