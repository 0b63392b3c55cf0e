"""Predicted against measured step times on an H200, before and after one probe.

    python benchmarks/accuracy/step_times.py            the figures
    python benchmarks/accuracy/step_times.py --worst 10 and the cases that miss most
    python benchmarks/accuracy/step_times.py --fit      the constants that fit the calibration files best

Calibration files: steps_h200_2026-11-23.json and the cases of memory_h200_*.json that were timed alone.
Judged on regret_h200*.json, other models, which no constant was fitted on. "After one probe": of
each model, length and method the planner's choice for 80 GiB is taken to have been probed, and all
other candidates of that grid are predicted with the factors that gives. Three constants of ZeRO and
offload rest on steps_h200x2_2026-11-23.json; held_out_steps_h200x2_2026-11-23.json was not fitted on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.plan_quality.regret_grids import card, request_of, tables
from memory_models.architecture import Architecture
from memory_models.device import LinkType
from memory_models.settings import TrainingSettings, changed
from tsplanner.planner.gather.cases import read_case
from tsplanner.planner.rank import choose
from tsplanner.throughput.rates import MEASURED, Efficiency, rates_of
from tsplanner.throughput.step_parts import StepTime
from tsplanner.throughput.step_time import step_time

FOLDER = Path(__file__).parents[1] / "data" / "measurements"
CALIBRATION = ("steps_h200_*.json", "memory_h200_2*.json")
JUDGED = "regret_h200*.json"
RANKS = "steps_h200x2_2026-11-23.json"
RANKS_HELD_OUT = "held_out_steps_h200x2_2026-11-23.json"
WARM_UP = 2
ALONE = 5
"""Cases of the memory files that were timed alone ran at least so many steps."""
PROBED_CAP_GIB = 80
MACHINE = card(141)
TWO = replace(MACHINE, devices=MACHINE.devices * 2, link=LinkType.NVLINK)


@dataclass(frozen=True)
class Timed:
    """A case and its seconds a step."""

    given: dict[str, Any]
    architecture: Architecture
    settings: TrainingSettings
    seconds: float

    def predicted(self, efficiency: Efficiency) -> StepTime:
        """What the model says."""
        machine = MACHINE if self.settings.sharding.world_size == 1 else TWO
        return step_time(self.architecture, self.settings, rates_of(machine, efficiency))

    def error(self, efficiency: Efficiency) -> float:
        """Predicted over measured, minus one."""
        return self.predicted(efficiency).seconds / self.seconds - 1


def timed(patterns: Iterable[str]) -> list[Timed]:
    """Cases that were timed alone."""
    found, models = [], {}
    for path in sorted({path for pattern in patterns for path in FOLDER.glob(pattern)}):
        least = ALONE if path.name.startswith("memory") else WARM_UP + 1
        for row in json.loads(path.read_text())["cases"]:
            steps = row.get("measured", {}).get("step_seconds", [])
            if len(steps) < least:
                continue
            case = read_case(row["case"], models)
            seconds = statistics.median(steps[WARM_UP:])
            found.append(Timed(row["case"], case.architecture, case.settings, seconds))
    return found


def fit(cases: Sequence[Timed]) -> Efficiency:
    """The constants with the least mean absolute logarithm of predicted over measured."""
    grid = product(
        [0.44 + 0.02 * step for step in range(15)],
        [2.5 + 0.25 * step for step in range(9)],
        [1e-6 * value for value in range(21, 46, 2)],
        [0.01 * value for value in range(0, 8, 2)],
    )
    best, least = MEASURED, math.inf
    for matrix, passes, launch, step in grid:
        tried = changed(
            MEASURED,
            matrix=matrix,
            passes=passes,
            launch_seconds_per_tensor=launch,
            step_seconds=step,
        )
        loss = statistics.mean(min(0.4, abs(math.log1p(c.error(tried)))) for c in cases)
        if loss < least:
            best, least = tried, loss
    return best


def after_one_probe() -> list[float]:
    """Errors of the rest of each grid, once the planner's choice was probed."""
    found = []
    for grid, table in tables(sorted(FOLDER.glob(JUDGED))).items():
        request = request_of(grid, PROBED_CAP_GIB, compiler=False)
        chosen = choose(request).plan.hardware
        if chosen not in table:
            continue
        rows = timed_rows(table, request.architecture, grid.length, request.learning)
        probe = rows.pop(chosen)
        ratio = probe.seconds / probe.predicted(MEASURED).seconds
        waits = probe.predicted(MEASURED).bound_by_launch
        factor = {"launch_factor" if waits else "work_factor": ratio}
        efficiency = replace(MEASURED, **factor)
        found += [row.error(efficiency) for row in rows.values()]
    return found


def timed_rows(table: Any, architecture: Architecture, length: int, learning: Any) -> dict:
    """A grid's rows by candidate."""
    from tsplanner.planner.settings import training_settings

    return {
        hardware: Timed(
            {},
            architecture,
            training_settings(learning, hardware, length),
            statistics.median(row["step_seconds"][WARM_UP:]),
        )
        for hardware, row in table.items()
    }


def line(name: str, errors: Sequence[float]) -> str:
    """Median, 90th percentile and worst."""
    absolute = sorted(abs(error) for error in errors)
    ninth = absolute[int(0.9 * (len(absolute) - 1))]
    return (
        f"{name:34s} {len(errors):4d} cases: median {100 * statistics.median(absolute):.1f} %, "
        f"90th {100 * ninth:.1f} %, worst {100 * absolute[-1]:.1f} %"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--worst", type=int, default=0)
    options = parser.parse_args()
    calibration, judged = timed(CALIBRATION), timed([JUDGED])
    if options.fit:
        best = fit(calibration)
        print(
            f"matrix={best.matrix:.2f} passes={best.passes:.2f} step={best.host.step_seconds:.2f} "
            f"launch_seconds_per_tensor={best.host.launch_seconds_per_tensor:.1e}"
        )
        return
    print(line("calibration (fitted on these)", [case.error(MEASURED) for case in calibration]))
    print(line("other models, before any probe", [case.error(MEASURED) for case in judged]))
    print(line("other models, after one probe", after_one_probe()))
    print(line("two ranks (fitted on these)", [case.error(MEASURED) for case in timed([RANKS])]))
    if held_out := timed([RANKS_HELD_OUT]):
        print(line("two ranks, held out", [case.error(MEASURED) for case in held_out]))
    order = sorted(judged, key=lambda case: -abs(case.error(MEASURED)))
    for case in order[: options.worst]:
        given = json.dumps(case.given)
        print(f"{100 * case.error(MEASURED):+7.1f} %  {case.seconds:7.3f} s  {given}")


if __name__ == "__main__":
    main()
