"""Seconds and memory of the whole embedded default: ``tsplanner tune --trials 8`` from nothing.

    python benchmarks/speed/demo_cost.py [--trials 8]

Memory is the largest sum of resident bytes over the command and all its children; pages that forks
share are counted once a process, so the true figure is lower.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.5


def resident_bytes(process: psutil.Process) -> int:
    """Resident bytes of a process and all its descendants now."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    """Run, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", default="8")
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        began, most = time.monotonic(), 0
        environment = {**os.environ, "TSPLANNER_STATE": str(Path(folder) / "state")}
        child = subprocess.Popen(
            [sys.executable, "-m", "tsplanner", "tune", "--trials", trials],
            cwd=folder,
            env=environment,
        )
        watched = psutil.Process(child.pid)
        while child.poll() is None:
            most = max(most, resident_bytes(watched))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.monotonic() - began
    print(f"{seconds:.0f} s, {most / 2**30:.2f} GiB at most, exit status {child.returncode}")


if __name__ == "__main__":
    main()
