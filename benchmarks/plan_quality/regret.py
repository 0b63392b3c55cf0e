"""How much speed the planner leaves on the table, against whole grids measured on an H200.

    python benchmarks/plan_quality/regret.py cases --output benchmarks/data/cases/h200_regret_compiled.jsonl
    python benchmarks/collect/measure_steps.py --cases benchmarks/data/cases/h200_regret_compiled.jsonl --output DIR
    python benchmarks/plan_quality/regret.py report benchmarks/data/measurements/regret_compiled_h200_2026-11-30.json

A grid is every candidate of the planner for one model, length and method on one GPU at effective
batch 16; smaller cards are caps on its memory. Of a grid and a cap, regret is 1 - chosen / best
samples per second, the best being the fastest that ran within the cap (without quantisation, where
any such did). ``plan --probe`` is played with probes looked up in the grid. Candidates that another
beats by a wide margin in both predicted speed and memory were not run (``regret_grids.hopeless``).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.plan_quality.regret_grids import (
    CAPS_GIB,
    GRIDS,
    Grid,
    Table,
    case_of,
    gpu_seconds,
    request_of,
    tables,
    worth_running,
)
from memory_models.settings import DecoderKernels, from_flat
from memory_models.units import GIB
from tsplanner.errors import NoPlanFits
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.waves import evaluate_all
from tsplanner.probe.rounds import search, settled
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

BUDGET_SECONDS = 300.0


def write_cases(output: Path, names: Sequence[str]) -> None:
    """All grids' cases, with what they should cost."""
    lines, total = [], 0.0
    for grid in GRIDS:
        if names and grid.name not in names:
            continue
        found = worth_running(grid)
        seconds = sum(gpu_seconds(one) for one in found)
        total += seconds
        print(f"{grid.name:28s} {len(found):3d} cases, about {seconds:4.0f} s")
        lines += [json.dumps(case_of(grid, one.hardware)) for one in found]
    output.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases, about {total:.0f} GPU seconds")


def speed(measured: dict[str, Any]) -> float:
    """Samples a second."""
    steps = measured["step_seconds"][measured["warmup_steps"] :]
    return 16 / statistics.median(steps)


def fits(measured: dict[str, Any], cap_gib: int) -> bool:
    """Ran, and within the cap."""
    return measured["status"] == "ok" and measured["process_bytes"] <= cap_gib * GIB


def best_speed(table: Table, cap_gib: int) -> float | None:
    """Of the fastest candidate within the cap; None: none is."""
    running = {hardware: row for hardware, row in table.items() if fits(row, cap_gib)}
    plain = [speed(row) for hardware, row in running.items() if hardware.base.quantization is None]
    return max(plain or [speed(row) for row in running.values()], default=None)


@dataclass(frozen=True)
class Judged:
    """A choice against the grid."""

    regret: float | None
    """None: the choice was not measured."""
    out_of_memory: bool = False


def judge(hardware: HardwareSettings, table: Table, cap_gib: int, best: float) -> Judged:
    """Regret of a choice."""
    row = table.get(hardware)
    if row is None:
        return Judged(None)
    if not fits(row, cap_gib):
        return Judged(1.0, out_of_memory=True)
    return Judged(1 - speed(row) / best)


def looked_up(table: Table, cap_gib: int) -> Callable[[Sequence[Plan], float], list[Record]]:
    """A prober that finds its records in the grid."""

    def probe(plans: Sequence[Plan], seconds: float) -> list[Record]:
        return [record_of(table.get(plan.hardware), cap_gib) for plan in plans]

    return probe


def record_of(row: dict[str, Any] | None, cap_gib: int) -> Record:
    """What a probe under the cap would have left."""
    if row is None:
        return Record(status=Status.CRASHED, kind=JobKind.PROBE, message="not in the grid")
    if not fits(row, cap_gib):
        return Record(status=Status.DEVICE_OOM, kind=JobKind.PROBE)
    return from_flat(
        Record,
        status=Status.OK,
        kind=JobKind.PROBE,
        process_bytes=row["process_bytes"],
        peak_allocated_bytes=row["peak_allocated_bytes"],
        peak_reserved_bytes=row["peak_reserved_bytes"],
        host_bytes=row["host_bytes"],
        step_seconds=tuple(row["step_seconds"]),
        warmup_steps=row["warmup_steps"],
    )


@dataclass(frozen=True)
class Line:
    """One grid under one cap."""

    grid: Grid
    cap_gib: int
    plan: Judged
    probed: Judged
    probes: int
    chosen: str


def play(grid: Grid, table: Table, cap_gib: int, best: float) -> Line:
    """Ask the planner, with and without probes."""
    compiled = {hardware.kernels.decoder_kernels is DecoderKernels.COMPILED for hardware in table}
    request = request_of(grid, cap_gib, compiler=True in compiled)
    chosen = choose(request).plan.hardware
    evaluated, _ = evaluate_all(request)
    done = search(request, evaluated, looked_up(table, cap_gib), BUDGET_SECONDS, lambda: 0.0)
    _, after = settled(request, evaluated, done)
    words = f"mb {chosen.batch.micro_batch_size} {'ck' if chosen.batch.gradient_checkpointing else '--'}"
    words += f" {chosen.kernels.loss_kernel}{' ' + chosen.base.quantization if chosen.base.quantization else ''}"
    now = after.hardware
    words += (
        f" -> mb {now.batch.micro_batch_size} {'ck' if now.batch.gradient_checkpointing else '--'}"
    )
    words += (
        f" {now.kernels.loss_kernel}{' ' + now.base.quantization if now.base.quantization else ''}"
    )
    return Line(
        grid=grid,
        cap_gib=cap_gib,
        plan=judge(chosen, table, cap_gib, best),
        probed=judge(now, table, cap_gib, best),
        probes=len(done),
        chosen=words,
    )


def report(paths: Sequence[Path]) -> None:
    """The table of all grids and caps, and the figures of the bar."""
    lines = []
    for grid, table in tables(paths).items():
        for cap in CAPS_GIB:
            best = best_speed(table, cap)
            try:
                line = play(grid, table, cap, best or 1.0)
            except NoPlanFits:
                note = "refused, rightly" if best is None else f"REFUSED, best {best:.2f}/s"
                print(f"{grid.name:28s} {cap:3d} GiB  {note}")
                continue
            if best is None:
                note = "OUT OF MEMORY" if line.plan.out_of_memory else "chosen was not run"
                print(f"{grid.name:28s} {cap:3d} GiB  nothing measured fits: {note}")
                continue
            lines.append(line)
            shown = " ".join(_percent(judged) for judged in (line.plan, line.probed))
            print(f"{grid.name:28s} {cap:3d} GiB  {shown}  {line.probes} probes  {line.chosen}")
    for name in ("plan", "probed"):
        print(figures(name, [getattr(line, name) for line in lines]))


def figures(name: str, judged: Sequence[Judged]) -> str:
    """The bar's figures in one line."""
    known = sorted(one.regret for one in judged if one.regret is not None)
    lost = sum(one.out_of_memory for one in judged)
    return (
        f"{name:7s} {len(known)} choices of {len(judged)}: regret median "
        f"{100 * statistics.median(known):.1f} %, 90th "
        f"{100 * known[int(0.9 * (len(known) - 1))]:.1f} %, worst {100 * known[-1]:.1f} %, "
        f"out of memory {lost}"
    )


def _percent(judged: Judged) -> str:
    if judged.out_of_memory:
        return "    OOM"
    return "   not run" if judged.regret is None else f"{100 * judged.regret:6.1f}%"


def main() -> None:
    """Write cases, or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    cases = verbs.add_parser("cases")
    cases.add_argument("--output", type=Path, required=True)
    cases.add_argument("--grids", nargs="*", default=[])
    reported = verbs.add_parser("report")
    reported.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    if options.verb == "cases":
        write_cases(options.output, options.grids)
    else:
        report(options.files)


if __name__ == "__main__":
    main()
