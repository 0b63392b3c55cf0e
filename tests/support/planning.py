"""``tsplanner plan`` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import forked

ROOT = Path(__file__).resolve().parents[2]


def line(*words: str) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "tsplanner", "plan", *words]


def environment(folder: Path) -> dict[str, str]:
    """Records of this machine's probes stay out of the test."""
    return {**os.environ, "TSPLANNER_STATE": str(folder / "state"), "PYTHONPATH": str(ROOT)}


def plan(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the verb in ``folder``."""
    return forked.run_text(("plan", *words), folder, environment(folder))


def sentence(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line on stderr of a failure; nothing on stdout, nothing saved."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("tsplanner")
    return done.stderr
