"""One plan in a process of its own, with its seconds and the peak memory of its process tree."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil


def watched_plan(
    flags: Sequence[str], *, interval_seconds: float, shared_once: bool
) -> tuple[float, int, dict[str, Any]]:
    """(seconds, peak bytes, JSON document) of ``plan``, with a state folder of its own.

    ``shared_once``: a page of several processes counts once (PSS, slow to read), not in each (RSS).
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tsplanner", "plan", "--json", *flags]
        output = Path(folder) / "plan.json.out"
        state = {**os.environ, "TSPLANNER_STATE": f"{folder}/state"}
        began = time.perf_counter()
        with output.open("wb") as stdout:
            process = psutil.Popen(command, cwd=folder, stdout=stdout, env=state)
            peak = 0
            while process.poll() is None:
                peak = max(peak, tree_bytes(process, shared_once=shared_once))
                time.sleep(interval_seconds)
        seconds = time.perf_counter() - began
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return seconds, peak, json.loads(output.read_bytes())


def tree_bytes(process: psutil.Process, *, shared_once: bool) -> int:
    """Memory of a process and everything it started."""
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            if shared_once:
                total += member.memory_full_info().pss
            else:
                total += member.memory_info().rss
    except psutil.Error:
        pass  # it ended while we looked
    return total


def cpu_seconds() -> float:
    """Of all processes of ours that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
