"""Packed trials against trials one after the other: load and steps by real probes, then makespans.

    python benchmarks/packed.py --output DIR                      # one H200, the cases below
    python benchmarks/packed.py --output DIR --dry-run            # a tiny model on the CPU

Of each case three ways are timed, each in a process of its own, at the case's full length:
``usual`` (Hugging Face's loop as most run it: micro-batch 1, checkpointing, plain loss, reference
kernels), ``solo`` (what ``plan`` picks: the whole batch at once, no checkpoints, fused loss, lean
kernels) and ``packed`` (as many trials at once as ``best_packing`` says, all of them if it says
none, to show by how much it is right). A makespan is load and steps of all trials; one after the
other each loads its base again. Starting a process is left out. Rows are random and all of one
length, weights are random too: neither time nor memory depends on their values, but random weights
load otherwise than a file does.
Writes DIR/packed.json after each way.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from case_plan import plan_of

from memory_models.estimate import estimate_memory
from memory_models.settings import Kernels, LossKernel, Quantization, TrainingSettings
from tsplanner.commands.cases import Case
from tsplanner.hardware.detect import detect_machine
from tsplanner.models.source import read_model
from tsplanner.planner.packing import best_packing
from tsplanner.planner.plan import Plan
from tsplanner.probe.packs import run_pack
from tsplanner.probe.runner import run_job
from tsplanner.runs import versions, write_json
from tsplanner.throughput.rates import rates_of
from tsplanner.training.job import Job, JobKind, PackedTrial, Record, Status

RANKS = (8, 16, 24, 32, 40, 48, 56, 64)
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One case, and what packing is to reach there."""

    name: str
    model: str = "qwen3-8b"
    length: int = 512
    batch: int = 2
    quantization: Quantization | None = None
    ranks: tuple[int, ...] = RANKS
    over_usual: float | None = None
    over_solo: float | None = None
    pays: bool = True
    """Whether the planner should find that packing pays."""
    solo_over_usual: float | None = None


H200 = (
    Bar(name="512 tokens, batch 2", over_usual=6.0, over_solo=2.0),
    Bar(name="2048 tokens, batch 2", length=2048, over_usual=2.5),
    Bar(name="512 tokens, batch 2, NF4", quantization=Quantization.NF4, over_usual=2.0),
    Bar(name="512 tokens, batch 16", batch=16, pays=False, solo_over_usual=8.0),
)
DRY = (Bar(name="tiny", model="tiny-chatts", length=64, ranks=(2, 4, 8), over_usual=1.0),)


def solo_settings(bar: Bar, *, half: bool) -> TrainingSettings:
    """One trial by good settings; the probe of the largest rank stands for all."""
    recipe: dict[str, Any] = {} if half else {"autocast": None, "model_dtype": "fp32"}
    return TrainingSettings(
        lora_rank=max(bar.ranks),
        sequence_length=bar.length,
        series_patches=bar.length // 4 if bar.model.endswith("chatts") else 0,
        micro_batch_size=bar.batch,
        quantization=bar.quantization,
        gradient_checkpointing=False,
        loss_kernel=LossKernel.FUSED,
        kernels=Kernels.LEAN,
        expandable_segments=half,
        **recipe,
    )


def usual_settings(solo: TrainingSettings) -> TrainingSettings:
    """The same trial as most people run it."""
    return replace(
        solo,
        micro_batch_size=1,
        gradient_accumulation_steps=solo.micro_batch_size * solo.gradient_accumulation_steps,
        gradient_checkpointing=True,
        loss_kernel=LossKernel.PLAIN,
        kernels=Kernels.REFERENCE,
    )


class Bench:
    """One machine, one folder."""

    def __init__(self, folder: Path, steps: int, limit: float) -> None:
        self.folder, self.steps, self.limit = folder, steps, limit
        self.machine = detect_machine()
        self.half = bool(self.machine.devices)

    def plan(self, bar: Bar, settings: TrainingSettings) -> Plan:
        """The plan that pins these settings."""
        source = read_model(bar.model)
        pinned = replace(settings, packed_ranks=())
        case = Case(architecture=source.architecture, settings=pinned, device=None)
        plan: Plan = plan_of(case, {"model": bar.model}, self.machine)
        return plan

    def alone(self, bar: Bar, settings: TrainingSettings, name: str) -> dict[str, Any]:
        """Load and step seconds of one trial."""
        plan = self.plan(bar, settings)
        job = Job(kind=JobKind.PROBE, plan=plan, folder=str(self.folder / bar.name / name))
        return self._told(run_job(job, time_limit_seconds=self.limit), settings, bar, 1.0)

    def packed(self, bar: Bar, settings: TrainingSettings) -> dict[str, Any]:
        """Load seconds, and seconds until each trial has made one step."""
        plan, folder = self.plan(bar, settings), self.folder / bar.name / "packed"
        trials = tuple(
            PackedTrial(
                learning=replace(plan.learning, lora_rank=rank), folder=str(folder / str(place))
            )
            for place, rank in enumerate(settings.packed_ranks)
        )
        job = Job(kind=JobKind.PROBE, plan=plan, folder=str(folder), packed=trials)
        record = run_pack(job, time_limit_seconds=self.limit).pack
        return self._told(record, settings, bar, float(settings.gradient_accumulation_steps))

    def _told(
        self, record: Record, settings: TrainingSettings, bar: Bar, passes: float
    ) -> dict[str, Any]:
        timed = record.step_seconds[2:] or record.step_seconds
        device = self.machine.devices[0] if self.machine.devices else None
        said = estimate_memory(read_model(bar.model).architecture, settings, device)
        return {
            "status": record.status,
            "message": record.message,
            "load_seconds": record.load_seconds,
            "step_seconds": passes * statistics.median(timed) if timed else None,
            "peak_allocated_bytes": record.peak_allocated_bytes,
            "peak_reserved_bytes": record.peak_reserved_bytes,
            "process_bytes": record.process_bytes,
            "estimated_peak_bytes": asdict(said.peak_allocated_bytes),
            "trials": max(1, len(settings.packed_ranks)),
            "micro_batch_size": settings.micro_batch_size,
            "gradient_checkpointing": settings.gradient_checkpointing,
        }

    def makespan(self, way: dict[str, Any], trials: int) -> float | None:
        """Seconds until all trials have made their steps, the base loaded as often as needed."""
        if way["status"] != Status.OK:
            return None
        turns = -(-trials // way["trials"])
        loads = way["load_seconds"] * (1 if way["trials"] > 1 else turns)
        return float(loads + turns * self.steps * way["step_seconds"])

    def run(self, bar: Bar) -> dict[str, Any]:
        """All ways of one case, and how they compare."""
        solo = solo_settings(bar, half=self.half)
        devices, host = self.machine.devices, self.machine.host
        free = devices[0].free_bytes if devices else host.available_bytes
        rates = rates_of(self.machine)
        found = best_packing(
            read_model(bar.model).architecture,
            solo,
            bar.ranks,
            rates,
            free,
            devices[0] if devices else None,
        )
        settings = found.settings
        if not settings.packed_ranks:
            settings = replace(solo, packed_ranks=bar.ranks, micro_batch_size=1)
            settings = replace(settings, gradient_accumulation_steps=bar.batch)
        ways = {
            "packed": self.packed(bar, settings),
            "solo": self.alone(bar, solo, "solo"),
            "usual": self.alone(bar, usual_settings(solo), "usual"),
        }
        spans = {name: self.makespan(way, len(bar.ranks)) for name, way in ways.items()}
        ratios = {
            "packed over usual": ratio(spans["usual"], spans["packed"]),
            "packed over solo": ratio(spans["solo"], spans["packed"]),
            "solo over usual": ratio(spans["usual"], spans["solo"]),
        }
        return {
            "case": asdict(bar),
            "steps": self.steps,
            "planner": {"pays": found.trials > 1, "gain": found.gain, "reason": found.reason},
            "ways": ways,
            "makespan_seconds": spans,
            "ratios": ratios,
            "bars": bars(bar, ratios, pays=found.trials > 1),
        }


def ratio(slow: float | None, fast: float | None) -> float | None:
    """How many times as fast; None where one of them did not run."""
    return None if slow is None or fast is None else slow / fast


def bars(bar: Bar, ratios: dict[str, float | None], *, pays: bool) -> dict[str, bool]:
    """Which targets of the case are met."""
    wanted = {
        "packed over usual": bar.over_usual,
        "packed over solo": bar.over_solo,
        "solo over usual": bar.solo_over_usual,
    }
    met = {
        f"{name} >= {least:g}": (ratios[name] or 0.0) >= least
        for name, least in wanted.items()
        if least is not None
    }
    return {
        **met,
        f"planner says packing {'pays' if bar.pays else 'does not pay'}": pays is bar.pays,
    }


def main(arguments: list[str]) -> int:
    """Run the cases; 0 if all ways of all of them ran."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of a trial")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds a way may take")
    parser.add_argument("--case", action="append", help="part of a case's name; all by default")
    parser.add_argument("--dry-run", action="store_true", help="a tiny model on the CPU")
    options = parser.parse_args(arguments)
    bench = Bench(options.output, options.steps, options.limit)
    chosen = [
        bar
        for bar in (DRY if options.dry_run else H200)
        if not options.case or any(part in bar.name for part in options.case)
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
