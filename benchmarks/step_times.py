"""Predicted against measured step times of the cases that were timed alone.

    python benchmarks/step_times.py            the table
    python benchmarks/step_times.py --fit      also the efficiencies that fit best

The cases of a fit are the cases reported: read the error as in-sample.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from memory_models.device import Host, Machine
from memory_models.units import GIB
from tsplanner.commands.cases import read_case
from tsplanner.hardware.describe import parse_gpus
from tsplanner.throughput.rates import MEASURED, Efficiency, rates_of
from tsplanner.throughput.step_time import step_time

FOLDER = Path(__file__).parent / "measurements"
FEWEST_STEPS = 5
"""Cases timed alone ran six steps; the rest ran side by side."""
WARM_UP = 2


def timed_cases() -> list[tuple[dict[str, Any], float]]:
    """Cases with enough steps, and their median seconds."""
    found = []
    for path in sorted(FOLDER.glob("memory_*.json")):
        for row in json.loads(path.read_text())["cases"]:
            steps = row.get("measured", {}).get("step_seconds", [])
            if len(steps) >= FEWEST_STEPS:
                found.append((row["case"], statistics.median(steps[WARM_UP:])))
    return found


def h200() -> Machine:
    """One H200 by its datasheet."""
    host = Host(total_bytes=128 * GIB, available_bytes=120 * GIB, cpu_count=16)
    return Machine(name="h200", devices=parse_gpus("H200"), host=host)


def errors(efficiency: Efficiency, cases: list[tuple[dict[str, Any], float]]) -> list[float]:
    """Predicted over measured, minus one, of every case."""
    rates, models = rates_of(h200(), efficiency), {}
    found = []
    for given, seconds in cases:
        case = read_case(given, models)
        found.append(step_time(case.architecture, case.settings, rates).seconds / seconds - 1)
    return found


def fit(cases: list[tuple[dict[str, Any], float]]) -> Efficiency:
    """The efficiencies with the least mean absolute logarithm of predicted over measured."""
    grid = product(
        [0.3 + 0.02 * step for step in range(26)],
        [0.3 + 0.05 * step for step in range(15)],
        [1e-6 * value for value in range(100, 1000, 25)],
    )
    best, least = MEASURED, math.inf
    for matrix, memory, launch in grid:
        tried = replace(MEASURED, matrix=matrix, memory=memory, launch_seconds_per_linear=launch)
        loss = statistics.mean(abs(math.log1p(error)) for error in errors(tried, cases))
        if loss < least:
            best, least = tried, loss
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    cases = timed_cases()
    efficiency = fit(cases) if options.fit else MEASURED
    if options.fit:
        print(
            f"matrix={efficiency.matrix:.2f}, memory={efficiency.memory:.2f}, "
            f"launch_seconds_per_linear={efficiency.launch_seconds_per_linear:.6f}"
        )
    found = errors(efficiency, cases)
    for (given, seconds), error in zip(cases, found, strict=True):
        print(f"{100 * error:+7.1f} %  {seconds:7.3f} s  {json.dumps(given)}")
    absolute = sorted(abs(error) for error in found)
    print(f"median {100 * statistics.median(absolute):.1f} %  worst {100 * absolute[-1]:.1f} %")


if __name__ == "__main__":
    main()
