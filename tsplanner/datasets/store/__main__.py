"""Builds a store for another process: a request as JSON on stdin, sentences on stdout."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec

from tsplanner.datasets.records import ReadJob
from tsplanner.datasets.store.build import ensure_store
from tsplanner.errors import TsplannerError

TELL_SECONDS = 0.5
"""Shortest time between two sentences about how far the work is."""


def say(sentence: str) -> None:
    """Tell the process that waits for the store."""
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def main() -> int:
    """Build the store; 0, or 1 with the error as the last line."""
    request: dict[str, Any] = msgspec.json.decode(sys.stdin.buffer.read())
    told = time.monotonic()

    def tell(done: int, total: int, rows: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            share = 100 * done / max(1, total)
            say(f"tokenised {rows:,} rows, {share:.0f} % of the dataset")

    try:
        ensure_store(
            msgspec.convert(request["read"], ReadJob),
            request["document"].encode(),
            on_bad=request["on_bad"],
            progress=tell,
        )
    except TsplannerError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
