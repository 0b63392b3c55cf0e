"""Workers of a study as processes of their own, which a test starts, reads and kills."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "support" / "study_worker.py"


PATHS = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]


@contextmanager
def worker(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A worker process that is ready to begin; it begins at a line on its stdin."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
    )
    try:
        assert said(process).startswith("ready")
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line that a worker prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def begin(process: subprocess.Popen[str]) -> None:
    """Let a worker take trials."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def numbers(process: subprocess.Popen[str]) -> list[int]:
    """Every trial that a worker took, once it has ended."""
    return [int(line) for line in process.communicate(timeout=120)[0].split()]
