"""Real children: one that sleeps, one that breeds, and ways to wait for their ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tsplanner.processes import ProcessResult, run_process

SLEEP = "import time; time.sleep(60)"


BREED = f"""
import subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=SESSION)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
"""


def run(code: str, folder: Path, *arguments: str, **more: object) -> ProcessResult:
    """Run a line of Python as a child with a log in ``folder``."""
    more.setdefault("time_limit_seconds", 30.0)
    return run_process(
        [sys.executable, "-c", code, *arguments],
        log_path=folder / "child.log",
        poll_seconds=0.05,
        **more,  # type: ignore[arg-type]
    )


def wait_for(happened: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Whether something happens within a number of seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if happened():
            return True
        time.sleep(0.02)
    return happened()


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def number_in(path: Path) -> int:
    """Process id that a child wrote down."""
    assert wait_for(lambda: path.is_file() and path.read_text() != "")
    return int(path.read_text())


INTERRUPTED = """
import time
from tsplanner.commands.views.interrupted import say_interrupted
from tsplanner.processes.signals import signals_as_interrupts
try:
    with signals_as_interrupts():
        print("ready", flush=True)
        time.sleep(60)
except KeyboardInterrupt as error:
    raise SystemExit(say_interrupted(error, "Go on."))
"""
"""A program that waits, and ends as a verb does that is interrupted."""
