"""Wall time of ``tsplanner plan`` and ``estimate`` as whole processes, warm.

python benchmarks/speed/startup.py [--repeats 15]
python benchmarks/speed/startup.py --base DIR     also of another checkout with a .venv of its own

With ``--base`` both checkouts run in turn, and the last column is the median of the pairs' ratios.
Compiled bytecode is used on both sides, as in an installed package: it is written if need be.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("memory_models", "tsplanner")
COMMANDS = {
    "plan (qwen2.5-7b, one H200)": ["plan", "--model", "qwen2.5-7b", "--gpus", "H200"],
    "plan (embedded default, this machine)": ["plan"],
    "estimate (qwen2.5-14b)": ["estimate", "--model", "qwen2.5-14b"],
}


class Checkout:
    """A checkout, the Python that runs it, and how long that takes."""

    def __init__(self, root: Path, python: Path) -> None:
        self.root, self.python = root.resolve(), python
        self.environment = {**os.environ, "PYTHONPATH": str(self.root)}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        folders = [str(self.root / package) for package in PACKAGES]
        self._run([str(python), "-m", "compileall", "-q", *folders], self.root)

    def seconds(self, arguments: list[str], folder: Path) -> float:
        """Wall time of one process."""
        began = time.perf_counter()
        self._run([str(self.python), "-m", "tsplanner", *arguments], folder)
        return time.perf_counter() - began

    def _run(self, command: list[str], folder: Path) -> None:
        subprocess.run(command, cwd=folder, env=self.environment, check=True, capture_output=True)


def main() -> None:
    """Print median and worst of each command, and beside a base the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--base", type=Path)
    options = parser.parse_args()
    checkouts = [Checkout(ROOT, Path(sys.executable))]
    if options.base is not None:
        base = options.base.resolve()
        checkouts.append(Checkout(base, base / ".venv" / "bin" / "python"))
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in COMMANDS.items():
            print(f"{name:<40}{line_of(checkouts, arguments, Path(folder), options.repeats)}")


def line_of(checkouts: list[Checkout], arguments: list[str], folder: Path, repeats: int) -> str:
    """Figures of one command, in turn on every checkout; the first round warms up."""
    times: list[list[float]] = [[] for _ in checkouts]
    for turn in range(repeats + 1):
        order = list(enumerate(checkouts))
        for place, checkout in order if turn % 2 else reversed(order):
            times[place].append(checkout.seconds(arguments, folder))
    warm = [found[1:] for found in times]
    words = f"median {statistics.median(warm[0]):.3f} s  worst {max(warm[0]):.3f} s"
    if len(warm) == 1:
        return words
    ratios = [ours / theirs for ours, theirs in zip(*warm, strict=True)]
    base, ratio = statistics.median(warm[1]), statistics.median(ratios)
    return f"{words}  base {base:.3f} s  ratio {ratio:.2f}"


if __name__ == "__main__":
    main()
