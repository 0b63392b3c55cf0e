"""The verb in a process of its own, and a run folder for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import tiny
from tsplanner.planner.files import write_plan


def tune(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The verb on the tiny plan."""
    plan = folder / "plan.json"
    if not plan.is_file():
        write_plan(tiny.plan(folder), plan)
    return subprocess.run(
        [sys.executable, "-m", "tsplanner", "tune", "--plan", str(plan), *words],
        check=False,
        cwd=folder,
        env={**os.environ, "TSPLANNER_STATE": str(folder / "state"), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def run_folder(folder: Path) -> Path:
    """A run folder beside the tiny plan's data."""
    tiny.plan(folder)
    run = folder / "run"
    run.mkdir()
    return run
