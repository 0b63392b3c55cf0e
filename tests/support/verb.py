"""The verb in a process of its own, and a run folder for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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


def command(folder: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    """A verb with its state kept inside the test's folder."""
    environment = {**os.environ, "TSPLANNER_STATE": str(folder / "state")}
    return [sys.executable, "-m", "tsplanner", *words], environment


def run_verb(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end in ``folder``."""
    line, environment = command(folder, *words)
    return subprocess.run(
        line, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=220
    )


def planned(folder: Path, **changes: object) -> Path:
    """plan.json of the tiny model."""
    plan = tiny.with_learning(tiny.plan(folder), validation_fraction=0.3, **changes)
    path = folder / "saves" / "tiny" / "plan.json"
    path.parent.mkdir(parents=True)
    return write_plan(plan, path)


def wait_for(folder: Path, pattern: str) -> None:
    """Wait until a file appears."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(folder.rglob(pattern)):
            return
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} under {folder}")
