"""Seconds of ``import tsplanner`` and of warm calls of the Python API.

python benchmarks/speed/python_api.py [--repeats 15] [--json FILE]

``same``: the call again as it was. ``next``: with a cutoff length that was not asked for before, as a
person who moves one setting in a notebook. Figures are the median of wall and of processor time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import tsplanner

ROOT = Path(__file__).resolve().parents[2]
IMPORT_BAR, PLAN_BAR = 30.0, 50.0
"""Milliseconds that are promised."""
CALLS: dict[str, Callable[..., object]] = {
    "plan, 7B on an RTX 4090": lambda **more: tsplanner.plan(
        model="qwen2.5-7b", gpus="RTX 4090", **more
    ),
    "plan, 14B on two RTX 2080 Ti": lambda **more: tsplanner.plan(
        model="chatts-14b", gpus="2x RTX 2080 Ti 22GiB", **more
    ),
    "plan, 70B on eight A100": lambda **more: tsplanner.plan(
        model="llama-3.1-70b", gpus="8x A100 SXM4 80GB", **more
    ),
    "estimate, 7B": lambda **more: tsplanner.estimate(model="qwen2.5-7b", **more),
}


def milliseconds(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median wall and processor time of a call."""
    walls, works = [], []
    for _ in range(repeats):
        began, worked = time.perf_counter(), time.process_time()
        call()
        walls.append(1e3 * (time.perf_counter() - began))
        works.append(1e3 * (time.process_time() - worked))
    return {"wall": statistics.median(walls), "processor": statistics.median(works)}


def import_milliseconds(repeats: int) -> float:
    """Median of the import alone, in fresh processes."""
    code = "import time; t = time.perf_counter(); import tsplanner; print(time.perf_counter() - t)"
    line = [sys.executable, "-c", code]
    found = [
        1e3 * float(subprocess.run(line, check=True, cwd=ROOT, capture_output=True).stdout)
        for _ in range(repeats)
    ]
    return statistics.median(found)


def main() -> None:
    """Print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lengths = itertools.count(1024)
    found: dict[str, object] = {"import": import_milliseconds(options.repeats)}
    print(f"import tsplanner {found['import']:>20.1f} ms   bar {IMPORT_BAR:.0f}")
    for name, call in CALLS.items():
        call()
        same = milliseconds(call, options.repeats)
        other = milliseconds(lambda call=call: call(cutoff_len=next(lengths)), options.repeats)
        found[name] = {"same": same, "next": other}
        print(
            f"{name:<30} same {same['wall']:>6.1f} ms ({same['processor']:.1f} of a core)   "
            f"next {other['wall']:>6.1f} ms ({other['processor']:.1f})   bar {PLAN_BAR:.0f}"
        )
    if options.json is not None:
        about = {"date": f"{date.today()}", "python": platform.python_version()}
        about["processor"] = processor()
        options.json.write_text(
            json.dumps({"about": about, "milliseconds": found}, indent=1) + "\n"
        )


def processor() -> str:
    """The processor as Linux names it, or the machine's kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(": ")[1] for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    main()
