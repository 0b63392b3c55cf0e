"""How much speed the planner leaves on the table, against whole grids measured on an H200.

    python benchmarks/regret.py cases --output benchmarks/cases/h200_regret.jsonl
    python benchmarks/measure_steps.py --cases benchmarks/cases/h200_regret.jsonl --output DIR
    python benchmarks/regret.py report benchmarks/measurements/regret_h200.json

A grid is every candidate of the planner for one model, length and method on one GPU at effective
batch 16; smaller cards are caps on its memory. Of a grid and a cap, regret is 1 - chosen / best
samples per second, the best being the fastest that ran within the cap (without quantisation, where
any such did). ``plan --probe`` is played with probes looked up in the grid. Candidates that another
beats by a wide margin in both predicted speed and memory were not run; see ``hopeless``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memory_models.adapters import trainable_parameters
from memory_models.device import Device, Host, Machine
from memory_models.settings import FinetuningType
from memory_models.units import GIB
from memory_models.weights import total_parameters
from tsplanner.commands.cases import CASE_KEYS, case_settings
from tsplanner.errors import NoPlanFits
from tsplanner.hardware.describe import parse_gpus
from tsplanner.models.source import read_model
from tsplanner.planner.choose import choose, evaluate_all
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.plan import (
    DatasetRef,
    HardwareSettings,
    LearningSettings,
    ModelRef,
    Plan,
    pinned,
    training_settings,
)
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.rules import refusal
from tsplanner.planner.space import candidates
from tsplanner.probe.rounds import search, settled
from tsplanner.training.job import JobKind, Record, Status

CAPS_GIB = (11, 16, 24, 48, 80)
SLOWER, LARGER = 1.4, 1.1
"""A candidate this much slower and larger than another, as predicted, is not run."""
STEPS, MICRO_BATCHES = 3, 2
OVERHEAD_SECONDS = 1.0
BUDGET_SECONDS = 300.0


@dataclass(frozen=True)
class Grid:
    """What is trained, and how long its sequences are."""

    model: str
    length: int
    method: FinetuningType = FinetuningType.LORA

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.model} {self.method} {self.length}"


GRIDS = (
    Grid("qwen2.5-0.5b", 512),
    Grid("qwen2.5-0.5b", 2048),
    Grid("qwen2.5-0.5b", 8192),
    Grid("llama-3.2-1b", 1024),
    Grid("llama-3.2-1b", 1024, FinetuningType.FULL),
    Grid("qwen2.5-1.5b", 4096),
    Grid("qwen2.5-3b", 2048),
    Grid("qwen3-4b", 512),
    Grid("qwen3-4b", 4096),
    Grid("qwen2.5-7b", 512),
    Grid("qwen2.5-7b", 2048),
    Grid("mistral-7b", 1024),
    Grid("qwen2.5-14b", 512),
    Grid("qwen2.5-14b", 4096),
)


def card(cap_gib: int) -> Machine:
    """One H200 with no more memory than that."""
    h200: Device = replace(parse_gpus("H200")[0], total_bytes=cap_gib * GIB)
    h200 = replace(h200, free_bytes=cap_gib * GIB)
    host = Host(total_bytes=256 * GIB, available_bytes=240 * GIB, cpu_count=16)
    return Machine(name="h200", devices=(h200,), host=host, packages=("bitsandbytes",))


def request_of(grid: Grid, cap_gib: int) -> PlanRequest:
    """What the planner is asked."""
    source = read_model(grid.model)
    learning = LearningSettings(finetuning_type=grid.method, cutoff_len=grid.length)
    settings = training_settings(learning, HardwareSettings(), 16)
    return PlanRequest(
        architecture=source.architecture,
        model=ModelRef(
            name=grid.model,
            path=None,
            model_type=source.architecture.model_type,
            parameters_total=total_parameters(source.architecture),
            parameters_trainable=trainable_parameters(source.architecture, settings),
            config=source.config,
        ),
        dataset=DatasetRef(
            name="(none)",
            path=None,
            rows_total=0,
            rows_kept=0,
            longest_sequence=grid.length,
            mean_sequence=float(grid.length),
            counted_by="cutoff_len",
        ),
        machine=card(cap_gib),
        learning=learning,
        pins=Pins(),
    )


def everybody(request: PlanRequest) -> list[Evaluated]:
    """All candidates that no rule refuses, the quantised ones too."""
    return [
        evaluate(request, hardware)
        for hardware in candidates(request)
        if refusal(request, hardware) is None
    ]


def hopeless(found: Evaluated, others: Iterable[Evaluated]) -> bool:
    """Another of the same base is predicted to be far faster and far smaller."""
    return any(
        other.hardware.quantization == found.hardware.quantization
        and other.samples_per_second > SLOWER * found.samples_per_second
        and LARGER * other.memory.process_bytes.expected < found.memory.process_bytes.expected
        for other in others
    )


def worth_running(grid: Grid) -> list[Evaluated]:
    """Candidates of a grid that are run: quantised ones where a cap may call for them."""
    request = request_of(grid, 139)
    most = 1.12 * CAPS_GIB[-1] * GIB
    found = [one for one in everybody(request) if one.memory.process_bytes.expected < most]
    plain = [one for one in found if one.hardware.quantization is None]
    smallest = min(one.memory.process_bytes.expected for one in plain)
    calls = smallest > 0.85 * CAPS_GIB[0] * GIB
    largest_call = max(cap for cap in (0, *CAPS_GIB) if smallest > 0.85 * cap * GIB)
    pool = [
        one
        for one in found
        if one.hardware.quantization is None
        or (calls and one.memory.process_bytes.expected < 1.2 * largest_call * GIB)
    ]
    return [one for one in pool if not hopeless(one, pool)]


def case_of(grid: Grid, hardware: HardwareSettings) -> dict[str, Any]:
    """A candidate as a case for ``measure_steps.py``."""
    learning = LearningSettings(finetuning_type=grid.method, cutoff_len=grid.length)
    settings = training_settings(learning, hardware, grid.length)
    plain = type(settings)()
    changed = {
        key: getattr(settings, key)
        for key in CASE_KEYS
        if key not in ("model", "device") and getattr(settings, key) != getattr(plain, key)
    }
    return {"model": grid.model, "sequence_length": grid.length, **changed}


def gpu_seconds(found: Evaluated) -> float:
    """Roughly what one case costs."""
    share = min(1.0, MICRO_BATCHES / found.hardware.gradient_accumulation_steps)
    return OVERHEAD_SECONDS + STEPS * found.time.seconds * share


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


Table = dict[HardwareSettings, dict[str, Any]]


def tables(paths: Iterable[Path]) -> dict[Grid, Table]:
    """What was measured, by grid and candidate."""
    found: dict[Grid, Table] = {grid: {} for grid in GRIDS}
    for path in paths:
        for row in json.loads(path.read_text())["cases"]:
            measured = row.get("measured", {})
            if measured.get("status") not in ("ok", "device_oom"):
                continue
            case = row["case"]
            settings = case_settings(case)
            grid = Grid(case["model"], settings.sequence_length, settings.finetuning_type)
            hardware = pinned(settings)[1]
            if grid in found and hardware.effective_batch_size == 16:
                found[grid][hardware] = measured
    return {grid: table for grid, table in found.items() if table}


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
    plain = [speed(row) for hardware, row in running.items() if hardware.quantization is None]
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
        return [_record(table.get(plan.hardware), cap_gib) for plan in plans]

    return probe


def _record(row: dict[str, Any] | None, cap_gib: int) -> Record:
    if row is None:
        return Record(status=Status.CRASHED, kind=JobKind.PROBE, message="not in the grid")
    if not fits(row, cap_gib):
        return Record(status=Status.DEVICE_OOM, kind=JobKind.PROBE)
    return Record(
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
    request = request_of(grid, cap_gib)
    chosen = choose(request).plan.hardware
    evaluated, _ = evaluate_all(request)
    done = search(request, evaluated, looked_up(table, cap_gib), BUDGET_SECONDS, lambda: 0.0)
    _, after = settled(request, evaluated, done)
    words = f"mb {chosen.micro_batch_size} {'ck' if chosen.gradient_checkpointing else '--'}"
    words += f" {chosen.loss_kernel}{' ' + chosen.quantization if chosen.quantization else ''}"
    now = after.hardware
    words += f" -> mb {now.micro_batch_size} {'ck' if now.gradient_checkpointing else '--'}"
    words += f" {now.loss_kernel}{' ' + now.quantization if now.quantization else ''}"
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
        judged: list[Judged] = [getattr(line, name) for line in lines]
        known = sorted(one.regret for one in judged if one.regret is not None)
        lost = sum(one.out_of_memory for one in judged)
        print(
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
