"""Wall time of ``tsplanner plan`` and ``estimate`` as whole processes, warm.

python benchmarks/speed/startup.py [--repeats 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "plan (qwen2.5-7b, one H200)": ["plan", "--model", "qwen2.5-7b", "--gpus", "H200"],
    "plan (embedded default, this machine)": ["plan"],
    "estimate (qwen2.5-14b)": ["estimate", "--model", "qwen2.5-14b"],
}


def main() -> None:
    """Print median and worst of each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in COMMANDS.items():
            times = []
            for _ in range(repeats + 1):
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "tsplanner", *arguments],
                    cwd=folder,
                    check=True,
                    capture_output=True,
                )
                times.append(time.perf_counter() - began)
            warm = times[1:]
            print(f"{name:<42} median {statistics.median(warm):.3f} s  worst {max(warm):.3f} s")


if __name__ == "__main__":
    main()
