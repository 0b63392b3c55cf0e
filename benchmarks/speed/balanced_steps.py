"""How far the tokens of the slowest process lie above the mean, rows as they come and balanced.

    python benchmarks/speed/balanced_steps.py [--rows 16]

Lengths are drawn as for the whole runs (log-normal, 2,048 at most). A packed step ends when its
slowest process ends, so that the mean over the slowest is the most that several GPUs can gain. One
core, no process started; nothing is timed.
"""

from __future__ import annotations

import argparse
import random

from benchmarks.collect.whole_runs import length
from tsplanner.training.packing.balanced import shared_evenly

STEPS, MOST = 400, 2048


def main() -> None:
    """Print one line per number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16, help="of one process in a step")
    rows = parser.parse_args().rows
    draw = random.Random(0)
    for processes in (2, 4, 8):
        plain = balanced = 0.0
        for _ in range(STEPS):
            lengths = [length("skewed", draw, MOST) for _ in range(rows * processes)]
            mean = sum(lengths) / processes
            shares = [lengths[start : start + rows] for start in range(0, len(lengths), rows)]
            plain += mean / max(map(sum, shares)) / STEPS
            dealt = shared_evenly(lengths, processes)
            balanced += mean / max(sum(lengths[at] for at in group) for group in dealt) / STEPS
        print(
            f"{processes} processes, {rows} rows each: scaling at most {plain * processes:.2f}x as "
            f"they come, {balanced * processes:.2f}x balanced"
        )


if __name__ == "__main__":
    main()
