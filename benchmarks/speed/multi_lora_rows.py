"""Trials that share a base on rows of unequal length, against the same trials one after the other.

    python benchmarks/speed/multi_lora_rows.py --output DIR             # one H200, 8 trials
    python benchmarks/speed/multi_lora_rows.py --output DIR --model FOLDER --trials 3 --steps 4

The trials are those of a search: real jobs on a dataset whose lengths are skewed (median 245), four
rows a step, packed or padded as ``plan`` chooses, as many at once as ``tune`` would start. Their
rows are as long as those of ``beside_peers.py run --shape trials``, which times another trainer. The
forecast of each way is written to DIR/predicted.json before the first one starts. A makespan is all
that the processes take, their start and load included; one after the other the first trial is timed
and counted for all, and every later one starts from the warm server that ``tune`` keeps. Weights are
random. Writes DIR/multi_lora_rows.json.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.collect.whole_runs import plan_of
from benchmarks.speed.peers.asked import LONGEST, SHAPES, row_lengths
from memory_models.settings import changed
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.probe.multi_lora import run_multi_lora
from tsplanner.probe.runner import run_job
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind, MultiLoraTrial, SharedTrials
from tsplanner.training.record import Record
from tsplanner.tune.runner.multi_lora import choose_sharing
from tsplanner.tune.runner.server import server_for
from tsplanner.tune.runner.slots import choose_slots

RANKS = (8, 16, 24, 32, 40, 48, 56, 64)
ROWS_PER_STEP = 4
WAYS: dict[str, dict[str, Any]] = {
    "packed": {},
    "padded": {"token_budget": None},
}
"""Settings that are pinned beside those that the planner chooses."""


@dataclass(frozen=True)
class Way:
    """A layout of the rows, planned for one trial and for trials that share a base."""

    name: str
    plan: Plan
    shared: Plan | None
    """None: sharing does not pay."""
    together: int
    gain: float

    def foretold(self, trials: int) -> dict[str, Any]:
        """Seconds of steps until all trials have ended, without starts and loads."""
        alone = trials * self.plan.time.total_seconds
        return {
            "layout": str(self.plan.hardware.batch),
            "one after the other": alone,
            "together": self.together,
            "sharing": alone / self.gain,
        }


def lengths(steps: int, most: int) -> list[int]:
    """Tokens of all rows of a trial."""
    shape = SHAPES["trials"]
    return [min(most, each) for step in range(steps) for each in row_lengths(shape, step)]


def planned(name: str, options: argparse.Namespace, folder: Path) -> Way:
    """The plans of a way on this machine."""
    given = {
        "name": name,
        "rows_of": "multi-lora",
        "model": options.model,
        "lengths": lengths(options.steps, options.most),
        "settings": {
            "effective_batch_size": ROWS_PER_STEP,
            "validation_fraction": 0.0,
            "world_size": 1,
            "lora_rank": max(RANKS[: options.trials]),
            **WAYS[name],
        },
    }
    if options.gpus:
        given["gpus"] = options.gpus
    plan = plan_of(given, folder / name)
    slots = choose_slots(plan, jobs=1, trials=options.trials, shares_base=True)
    # On a CPU trials share a base only where they are asked to.
    asked = options.trials if plan.hardware.accelerator == "cpu" else None
    choice = choose_sharing(plan, plan.learning, slots, trials=options.trials, asked=asked)
    found = choice.multi_lora
    print(f"{name}: {choice.sentence}", flush=True)
    return Way(
        name=name,
        plan=plan,
        shared=None if found is None else found.plan,
        together=1 if found is None else found.max_concurrent_trials,
        gain=1.0 if found is None else found.gain,
    )


def learning(plan: Plan, rank: int) -> LearningSettings:
    """A trial's own learning settings."""
    found: LearningSettings = changed(plan.learning, lora_rank=rank)
    return found


def alone(way: Way, trials: int, folder: Path, limit: float) -> dict[str, Any]:
    """One trial, twice from one server: its first and its later makespans."""
    spans, record = [], None
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with server_for(way.plan, folder) as server:
        for number in range(2):
            job = Job(kind=JobKind.TRIAL, plan=way.plan, folder=str(folder / str(number)))
            Path(job.folder).mkdir(exist_ok=True)
            record = run_job(job, time_limit_seconds=limit, server=server)
            spans.append(time.monotonic() - began)
            began = time.monotonic()
    assert record is not None
    return told(record, spans[0] + (trials - 1) * spans[1])


def sharing(way: Way, trials: int, folder: Path, limit: float) -> dict[str, Any]:
    """All trials, as many at once as pays; the next one starts where one has ended."""
    assert way.shared is not None
    folder.mkdir(parents=True, exist_ok=True)
    own = tuple(
        MultiLoraTrial(learning=learning(way.shared, rank), folder=str(folder / str(rank)))
        for rank in RANKS[:trials]
    )
    job = Job(
        kind=JobKind.TRIAL,
        plan=way.shared,
        folder=str(folder),
        shared=SharedTrials(trials=own, max_concurrent_trials=way.together),
    )
    began = time.monotonic()
    with server_for(way.shared, folder) as server:
        found = run_multi_lora(job, time_limit_seconds=limit, server=server)
    span = time.monotonic() - began
    ended = {str(record.status) for record in found.trials.values()}
    return told(found.worker, span) | {"trials": sorted(ended), "ended": len(found.trials)}


def told(record: Record, makespan: float) -> dict[str, Any]:
    """What is written of a way."""
    return {
        "status": str(record.status),
        "message": record.message,
        "makespan_seconds": makespan,
        "load_seconds": record.timing.load_seconds,
        "steps_seconds": sum(record.timing.step_seconds),
        "steps": len(record.timing.step_seconds),
        "peak_allocated_bytes": record.memory.peak_allocated_bytes,
    }


def main() -> None:
    """Foretell all ways, run all, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="qwen3-8b")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of a trial")
    parser.add_argument("--most", type=int, default=LONGEST, help="tokens of the longest row")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds a process may take")
    parser.add_argument("--gpus", help="forecasts for these GPUs alone, such as h200")
    parser.add_argument("--way", action="append", choices=list(WAYS), help="all by default")
    options = parser.parse_args()
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    ways = [planned(name, options, folder) for name in options.way or WAYS]
    foretold = {way.name: way.foretold(options.trials) for way in ways}
    write_json(folder / "predicted.json", foretold)
    print(foretold, flush=True)
    if options.gpus:
        return
    results: dict[str, Any] = {}
    document = {"versions": versions(), "steps": options.steps, "foretold": foretold}
    for way in ways:
        place = folder / way.name
        results[way.name] = {
            "one after the other": alone(way, options.trials, place / "alone", options.limit)
        }
        if way.shared is not None:
            found = sharing(way, options.trials, place / "shared", options.limit)
            results[way.name]["sharing"] = found
        print(way.name, results[way.name], flush=True)
        write_json(folder / "multi_lora_rows.json", {**document, "ways": results})


if __name__ == "__main__":
    main()
