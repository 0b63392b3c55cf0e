"""Packed trials against trials one after the other: load and steps by real probes, then makespans.

    python benchmarks/speed/multi_lora.py --output DIR                      # one H200, the cases below
    python benchmarks/speed/multi_lora.py --output DIR --dry-run            # a tiny model on the CPU

Of each case three ways are timed, each in a process of its own, at the case's full length:
``usual`` (Hugging Face's loop as most run it: micro-batch 1, checkpointing, plain loss, reference
kernels), ``solo`` (what ``plan`` picks: the whole batch at once, no checkpoints, fused loss, lean
kernels) and ``packed`` (as many trials at once as ``best_sharing`` says; not where it says none).
A makespan is all that the processes take: start, load and steps of all trials; one after the other
each starts and loads again, ``solo`` and ``packed`` from the warm server that tune keeps. The pack
also runs on with 6, 4, 2 and 1 of its trials; with ``--early FILE`` (of benchmarks/tune/early_stops.py)
the makespan with early stopping is told, as many trials at work in each third of a run as the
search's rule left there on the real curves of that file. Rows are random and all of one length,
weights are random too: neither time nor memory depends on their values, but random weights load
otherwise than a file does.
Writes DIR/packed.json after each way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.collect.case_plan import plan_of
from benchmarks.speed.multi_lora_cases import (
    DRY,
    EARLY,
    H200,
    Bar,
    bars,
    between,
    ratio,
    seconds_by_count,
    solo_settings,
    stop_step,
    usual_settings,
)
from benchmarks.tune.early_stops import mean_at_work, played_draws
from memory_models.estimate import estimate_memory
from memory_models.settings import TrainingSettings, changed
from tsplanner.hardware.detect import detect_machine
from tsplanner.models.source import read_model
from tsplanner.planner.gather.cases import Case
from tsplanner.planner.multi_lora.speedup import Room, best_sharing
from tsplanner.planner.plan import Plan
from tsplanner.probe.multi_lora import run_multi_lora
from tsplanner.probe.runner import request_stop, run_job
from tsplanner.runs import versions, write_json
from tsplanner.throughput.rates import rates_of
from tsplanner.training.job import Job, JobKind, MultiLoraTrial, SharedTrials, Status
from tsplanner.training.record import Record
from tsplanner.tune.runner.server import server_for

WAYS = ("packed", "solo", "usual")


class Bench:
    """One machine, one folder."""

    def __init__(self, folder: Path, steps: int, limit: float, early: Path | None) -> None:
        self.folder, self.steps, self.limit = folder, steps, limit
        self.at_work: list[float] = []
        """Trials of eight at work in each part of a run, where trials stop early."""
        if early is not None:
            seeds = json.loads(early.read_text())["seeds"]
            parts = [mean_at_work(played_draws(one["trials"])) for one in seeds]
            self.at_work = [statistics.fmean(part) for part in zip(*parts, strict=True)]
        self.chosen: Sequence[str] = WAYS
        self.machine = detect_machine()
        self.half = bool(self.machine.devices)

    def plan(self, bar: Bar, settings: TrainingSettings) -> Plan:
        """The plan that pins these settings."""
        source = read_model(bar.model)
        pinned = changed(settings, packed_ranks=())
        case = Case(architecture=source.architecture, settings=pinned, device=None)
        plan: Plan = plan_of(case, {"model": bar.model}, self.machine)
        return plan

    def alone(self, bar: Bar, settings: TrainingSettings, name: str) -> dict[str, Any]:
        """Load and step seconds of one trial."""
        plan, folder = self.plan(bar, settings), self.folder / bar.name / name
        job = Job(
            kind=JobKind.PROBE,
            plan=plan,
            folder=str(folder),
            probe_steps=4,
            probe_micro_batches=settings.batch.gradient_accumulation_steps,
        )
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with nullcontext() if name == "usual" else server_for(plan, folder) as server:
            ways = []
            for _ in range(1 if server is None else 2):
                record = run_job(job, time_limit_seconds=self.limit, server=server)
                ways.append(self._told(record, settings, bar, time.monotonic() - began))
                began = time.monotonic()
        timed = record.timing.step_seconds[2:] or record.timing.step_seconds
        return ways[0] | {
            "step_seconds": statistics.median(timed) if timed else None,
            "overhead_again_seconds": ways[-1]["overhead_seconds"],
        }

    def packed(self, bar: Bar, settings: TrainingSettings) -> dict[str, Any]:
        """Seconds until each trial has made one step, by the number of trials at work."""
        plan, folder = self.plan(bar, settings), self.folder / bar.name / "packed"
        trials = tuple(
            MultiLoraTrial(
                learning=changed(plan.learning, lora_rank=rank), folder=str(folder / str(place))
            )
            for place, rank in enumerate(settings.method.adapter_ranks)
        )
        count = len(trials)
        until = {trial.folder: stop_step(count - place) for place, trial in enumerate(trials)}

        def stop_later(trial: str, row: dict[str, object]) -> None:
            if int(str(row.get("step") or 0)) >= until[trial]:
                request_stop(Path(trial))

        job = Job(
            kind=JobKind.PROBE,
            plan=plan,
            folder=str(folder),
            shared=SharedTrials(trials=trials),
            probe_steps=stop_step(1),
            probe_micro_batches=settings.batch.gradient_accumulation_steps,
        )
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with server_for(plan, folder) as server:
            found = run_multi_lora(
                job, time_limit_seconds=self.limit, on_metrics=stop_later, server=server
            )
        way = self._told(found.worker, settings, bar, time.monotonic() - began)
        ran = [found.trials[trial.folder].steps for trial in trials if trial.folder in found.trials]
        by_count = seconds_by_count(
            found.worker.timing.step_seconds, ran, settings.batch.gradient_accumulation_steps
        )
        return way | {
            "step_seconds": by_count.get(count),
            "seconds_by_trials": by_count,
            "overhead_again_seconds": way["overhead_seconds"],
        }

    def _told(
        self, record: Record, settings: TrainingSettings, bar: Bar, wall_seconds: float
    ) -> dict[str, Any]:
        device = self.machine.devices[0] if self.machine.devices else None
        said = estimate_memory(read_model(bar.model).architecture, settings, device)
        return {
            "status": record.status,
            "message": record.message,
            "load_seconds": record.timing.load_seconds,
            "overhead_seconds": wall_seconds - sum(record.timing.step_seconds),
            "peak_allocated_bytes": record.memory.peak_allocated_bytes,
            "peak_reserved_bytes": record.memory.peak_reserved_bytes,
            "process_bytes": record.memory.process_bytes,
            "estimated_peak_bytes": asdict(said.peak_allocated_bytes),
            "trials": max(1, len(settings.method.adapter_ranks)),
            "micro_batch_size": settings.batch.micro_batch_size,
            "gradient_checkpointing": settings.batch.gradient_checkpointing,
        }

    def makespan(self, way: dict[str, Any], trials: int) -> float | None:
        """Seconds until all trials have made their steps; a process for each turn."""
        if way["status"] != Status.OK or not way["step_seconds"]:
            return None
        turns = -(-trials // way["trials"])
        overhead = way["overhead_seconds"] + (turns - 1) * way["overhead_again_seconds"]
        return float(overhead + turns * self.steps * way["step_seconds"])

    def early_makespan(self, way: dict[str, Any] | None) -> float | None:
        """The same for one pack of all trials, of which fewer and fewer are at work."""
        if way is None or way["status"] != Status.OK or not self.at_work:
            return None
        part = self.steps / len(self.at_work)
        passes = sum(part * between(way["seconds_by_trials"], count) for count in self.at_work)
        return float(way["overhead_seconds"] + passes)

    def ways(
        self, bar: Bar, solo: TrainingSettings, packed: TrainingSettings
    ) -> dict[str, Callable[[], dict[str, Any]]]:
        """How each way is run."""
        found: dict[str, Callable[[], dict[str, Any]]] = {}
        if packed.method.adapter_ranks and "packed" in self.chosen:
            found["packed"] = lambda: self.packed(bar, packed)
        if "solo" in self.chosen:
            found["solo"] = lambda: self.alone(bar, solo, "solo")
        if "usual" in self.chosen:
            found["usual"] = lambda: self.alone(bar, usual_settings(solo), "usual")
        return found

    def run(self, bar: Bar) -> dict[str, Any]:
        """All ways of one case, and how they compare."""
        solo = solo_settings(bar, half=self.half)
        devices, host = self.machine.devices, self.machine.host
        free = devices[0].free_bytes if devices else host.available_bytes
        rates = rates_of(self.machine)
        found = best_sharing(
            read_model(bar.model).architecture,
            solo,
            bar.ranks,
            rates,
            Room(free_bytes=free, device=devices[0] if devices else None),
        )
        ways = {name: run() for name, run in self.ways(bar, solo, found.settings).items()}
        spans = {name: self.makespan(way, len(bar.ranks)) for name, way in ways.items()}
        spans["packed, early stops"] = self.early_makespan(ways.get("packed"))
        ratios = {
            "packed over usual": ratio(spans.get("usual"), spans.get("packed")),
            "packed over solo": ratio(spans.get("solo"), spans.get("packed")),
            "solo over usual": ratio(spans.get("usual"), spans.get("solo")),
            EARLY: ratio(spans.get("usual"), spans["packed, early stops"]),
        }
        return {
            "case": asdict(bar),
            "steps": self.steps,
            "at_work": self.at_work,
            "planner": {"pays": found.trials > 1, "gain": found.gain, "reason": found.reason},
            "ways": ways,
            "makespan_seconds": spans,
            "ratios": ratios,
            "bars": bars(bar, ratios, pays=found.trials > 1),
        }


def main(arguments: list[str]) -> int:
    """Run the cases; 0 if all ways of all of them ran."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of a trial")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds a way may take")
    parser.add_argument(
        "--early", type=Path, help="curves measured by benchmarks/tune/early_stops.py"
    )
    parser.add_argument("--case", action="append", help="name of a case; all by default")
    parser.add_argument("--way", action="append", choices=WAYS, help="all by default")
    parser.add_argument("--dry-run", action="store_true", help="a tiny model on the CPU")
    options = parser.parse_args(arguments)
    bench = Bench(options.output, options.steps, options.limit, options.early)
    bench.chosen = options.way or bench.chosen
    chosen = [
        bar
        for bar in (DRY if options.dry_run else H200)
        if not options.case or bar.name in options.case
    ]
    results: list[dict[str, Any]] = []
    for bar in chosen:
        results.append(bench.run(bar))
        write_json(options.output / "packed.json", {"versions": versions(), "cases": results})
        print(bar.name, results[-1]["ratios"], results[-1]["bars"], flush=True)
    ways = [way for result in results for way in result["ways"].values()]
    return 0 if all(way["status"] == Status.OK for way in ways) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
