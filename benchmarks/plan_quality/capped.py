"""Run what the planner chooses under the cap it chose it for.

    python benchmarks/plan_quality/capped.py cases --output benchmarks/data/cases/h200_capped.jsonl
    python benchmarks/collect/measure_steps.py --cases benchmarks/data/cases/h200_capped.jsonl --output DIR
    python benchmarks/plan_quality/capped.py report benchmarks/data/measurements/capped_h200_2026-11-23.json

``regret.py`` reads off whole grids, measured without a cap, what the planner's choices would do.
Here every choice of ``plan``, and every probe and choice of ``plan --probe``, is run with the
allocator capped to what a card of that size has beside the context; a choice that runs out of
memory is counted. The search of ``plan --probe`` is then played again on these records. Choices are
compared by the speeds of the grids, which were measured in one go.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.plan_quality.regret import (
    BUDGET_SECONDS,
    Judged,
    best_speed,
    figures,
    looked_up,
    record_of,
    speed,
)
from benchmarks.plan_quality.regret_grids import (
    CAPS_GIB,
    GRIDS,
    Grid,
    Table,
    case_of,
    request_of,
    tables,
)
from memory_models.units import GIB, MIB
from tsplanner.errors import NoPlanFits
from tsplanner.planner.gather.cases import case_settings
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.settings import HardwareSettings, split_settings
from tsplanner.planner.space.waves import evaluate_all
from tsplanner.probe.rounds import search, settled
from tsplanner.training.record import Record

FOLDER = Path(__file__).parents[1] / "data" / "measurements"
GRID_FILES = [FOLDER / "regret_h200_2026-11-23.json", FOLDER / "steps_h200_2026-11-23.json"]
OUTSIDE_BYTES = 770 * MIB
"""What the driver saw beyond the allocator in the grids' runs, rounded up: 746 to 766 MiB."""

Capped = dict[int, Table]
"""What ran, by cap in GiB and candidate."""


def wanted(grid: Grid, table: Table, cap_gib: int) -> list[HardwareSettings]:
    """The choice of ``plan``, the probes of ``plan --probe`` and what they settle on."""
    request = request_of(grid, cap_gib, compiler=False)
    try:
        found = [choose(request).plan.hardware]
    except NoPlanFits:
        return []
    evaluated, _ = evaluate_all(request)
    done = search(request, evaluated, looked_up(table, cap_gib), BUDGET_SECONDS, lambda: 0.0)
    found += [each.plan.hardware for each in done if each.plan.hardware in table][:6] or [
        each.plan.hardware for each in done[:3]
    ]
    with suppress(NoPlanFits):  # the grid lacks what the search asked for
        found.append(settled(request, evaluated, done)[1].hardware)
    return list(dict.fromkeys(found))


def write_cases(output: Path) -> None:
    """One line a candidate and cap."""
    lines = []
    for grid, table in tables(GRID_FILES).items():
        for cap in CAPS_GIB:
            for hardware in wanted(grid, table, cap):
                case = case_of(grid, hardware)
                lines.append(json.dumps({**case, "cap_bytes": cap * GIB - OUTSIDE_BYTES}))
    output.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases")


def capped_tables(paths: Sequence[Path]) -> dict[Grid, Capped]:
    """What was measured under caps, by grid."""
    found: dict[Grid, Capped] = {grid: {} for grid in GRIDS}
    for path in paths:
        for row in json.loads(path.read_text())["cases"]:
            case = dict(row["case"])
            cap = (case.pop("cap_bytes") + OUTSIDE_BYTES) // GIB
            settings = case_settings(case)
            grid = Grid(case["model"], settings.sequence_length, settings.method.finetuning_type)
            if measured := row.get("measured"):
                found[grid].setdefault(cap, {})[split_settings(settings)[1]] = measured
    return found


def judged(row: dict[str, Any] | None, of_grid: dict[str, Any] | None, best: float) -> Judged:
    """Whether it ran under the cap; how fast, is said by the grid, which was timed at one time."""
    if row is None:
        return Judged(None)
    if row["status"] != "ok":
        return Judged(1.0, out_of_memory=True)
    return Judged(1 - speed(of_grid or row) / best)


def report(paths: Sequence[Path]) -> None:
    """A line a grid and cap, then the figures of the bar."""
    plans: list[Judged] = []
    probed: list[Judged] = []
    probes = unseen = 0
    grids = tables(GRID_FILES)
    slower = []
    for grid, by_cap in capped_tables(paths).items():
        for cap, table in sorted(by_cap.items()):
            best = best_speed(grids[grid], cap)
            if best is None:
                best = max(speed(row) for row in table.values() if row["status"] == "ok")
            request = request_of(grid, cap, compiler=False)
            chosen = choose(request).plan.hardware
            evaluated, _ = evaluate_all(request)

            def prober(
                asked: Sequence[Plan], _: float, table: Table = table, cap: int = cap
            ) -> list[Record]:
                return [record_of(table.get(plan.hardware), cap) for plan in asked]

            done = search(request, evaluated, prober, BUDGET_SECONDS, lambda: 0.0)
            after = settled(request, evaluated, done)[1].hardware
            measured = grids[grid]
            plans.append(judged(table.get(chosen), measured.get(chosen), best))
            probed.append(judged(table.get(after), measured.get(after), best))
            probes += len(done)
            unseen += sum(each.plan.hardware not in table for each in done)
            slower += [
                speed(row) / speed(grids[grid][hardware])
                for hardware, row in table.items()
                if row["status"] == "ok" and grids[grid].get(hardware, {}).get("status") == "ok"
            ]
            lost = sum(one.out_of_memory for one in (plans[-1], probed[-1]))
            shown = [f"{100 * (one.regret or 0):5.1f}%" for one in (plans[-1], probed[-1])]
            print(f"{grid.name:28s} {cap:3d} GiB  {' '.join(shown)}{'  OOM' if lost else ''}")
    print(figures("plan", plans))
    print(figures("probed", probed))
    print(f"{probes} probes, {unseen} of them not run here")
    print(
        f"speed under the cap against without, {len(slower)} runs: median "
        f"{statistics.median(slower):.3f}, lowest {min(slower):.3f}"
    )


def main() -> None:
    """Write cases, or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    cases = verbs.add_parser("cases")
    cases.add_argument("--output", type=Path, required=True)
    reported = verbs.add_parser("report")
    reported.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    if options.verb == "cases":
        write_cases(options.output)
    else:
        report(options.files)


if __name__ == "__main__":
    main()
