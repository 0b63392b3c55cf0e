"""Do hardware settings leave the loss curve alone? One model with weights under many plans.

    python benchmarks/accuracy/same_curve.py [--steps 50] [--output same_curve.json]

Trains tiny-chatts (its weights and its dataset ship here) with the same learning settings under
plans that differ in hardware settings only, and compares the losses step by step with those of one
process. On a CPU in fp32, on GPUs in bf16; plans in bf16 are compared with one process in bf16.
Plans of two ranks need two GPUs (or none: gloo), ZeRO needs DeepSpeed. Ends with status 1 if a
plan's losses leave the tolerance of its precision.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memory_models.device import Machine
from memory_models.settings import DecoderKernels, Dtype, LossKernel, Optimizer, changed, from_flat
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.finished import finish
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import Plan
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.launch import VISIBLE, visible_name
from tsplanner.probe.runner import METRICS_FILE, request_stop, run_job
from tsplanner.runs import read_json_lines, versions, write_json
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record

EFFECTIVE_BATCH = 8
TIME_LIMIT_SECONDS = 400.0
CORES_A_RUN = 4
"""A run's imports and its loop keep this many cores busy, by a generous count."""
TOLERANCE = {Dtype.FP32: 2e-4, Dtype.BF16: 3e-2}
"""Largest difference of any step's loss, in nats: bf16 has 8 bits, and sums in another order."""
HALF = {"model_dtype": Dtype.BF16, "autocast": Dtype.BF16}
TWO = {"world_size": 2, "micro_batch_size": 2, "gradient_accumulation_steps": 2}
PLANS: dict[str, dict[str, Any]] = {
    "one process": {},
    "one process, bf16": HALF,
    "micro-batch 1": {"micro_batch_size": 1, "gradient_accumulation_steps": 8},
    "checkpointing": {"gradient_checkpointing": True},
    "fused loss": {"loss_kernel": LossKernel.FUSED},
    "lean kernels": {"kernels": DecoderKernels.FUSED, **HALF},
    "DDP x2": TWO,
    "DDP x2, fused loss": {**TWO, "loss_kernel": LossKernel.FUSED},
    "ZeRO-2 x2": {**TWO, "zero_stage": 2, **HALF},
    "ZeRO-3 x2": {**TWO, "zero_stage": 3, **HALF},
}
ENDED_WELL = (Status.OK, Status.STOPPED)
REFERENCES = {Dtype.FP32: "one process", Dtype.BF16: "one process, bf16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One plan's losses, and how its worker ended."""

    plan: Plan
    record: Record
    losses: list[float]
    seconds: float

    @property
    def precision(self) -> Dtype:
        """Of the matrix products."""
        return self.plan.hardware.base.autocast or Dtype.FP32


def request_for(*, cpu: bool, epochs: int) -> PlanRequest:
    """Tiny-chatts on its own dataset; no row held out, so that every step is a training step."""
    learning: dict[str, object] = {
        "effective_batch_size": EFFECTIVE_BATCH,
        "num_train_epochs": epochs,
        "validation_fraction": 0.0,
        "lora_rank": 8,
    }
    return plan_request(Subject(cpu=cpu, learning=learning), Path(tempfile.gettempdir()))


def plan_with(request: PlanRequest, changes: dict[str, Any]) -> Plan:
    """The plan with these hardware settings, whether or not the planner would choose them."""
    precision = {"model_dtype": Dtype.FP32, "autocast": None} if request.on_cpu else HALF
    base = from_flat(
        HardwareSettings,
        accelerator="cpu" if request.on_cpu else "cuda",
        micro_batch_size=4,
        gradient_accumulation_steps=EFFECTIVE_BATCH // 4,
        gradient_checkpointing=False,
        optimizer=Optimizer.ADAMW_TORCH,
        **precision,
    )
    hardware = changed(base, **changes)
    return finish(request, evaluate(request, hardware))


def possible(machine: Machine, hardware: dict[str, Any], *, cpu: bool) -> bool:
    """Whether this machine can run the settings at all."""
    enough = cpu or hardware.get("world_size", 1) <= len(machine.devices)
    return enough and (not hardware.get("zero_stage") or find_spec("deepspeed") is not None)


def train(name: str, plan: Plan, folder: Path, slot: int, steps: int) -> Run:
    """Train a plan in processes of its own, beside others; on GPUs by turns."""
    gpus = len(plan.machine.devices)
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(folder / str(slot)), threads=1)
    environment = {"OMP_NUM_THREADS": "1"}
    if plan.hardware.accelerator == "cpu":
        environment["DS_ACCELERATOR"] = "cpu"
    elif plan.hardware.sharding.world_size == 1:
        environment[VISIBLE] = visible_name(slot % gpus)
    began = time.monotonic()

    def on_metrics(row: dict[str, Any]) -> None:
        if int(row["step"]) >= steps:
            request_stop(Path(job.folder))

    record = run_job(
        job,
        time_limit_seconds=TIME_LIMIT_SECONDS,
        on_metrics=on_metrics,
        environment=environment,
    )
    rows = read_json_lines(Path(job.folder) / METRICS_FILE)
    losses = [float(str(row["loss"])) for row in rows if row.get("loss") is not None][:steps]
    seconds = time.monotonic() - began
    ending = f"last loss {losses[-1]:.4f}" if record.status in ENDED_WELL else record.message
    print(f"  {name:20} {seconds:5.0f} s  {ending}", file=sys.stderr, flush=True)
    return Run(plan=plan, record=record, losses=losses, seconds=seconds)


def compared(runs: dict[str, Run]) -> list[dict[str, Any]]:
    """A row a plan: its largest difference from one process of the same precision."""
    rows = []
    for name, run in runs.items():
        same = [
            other
            for label, other in runs.items()
            if label in REFERENCES.values() and other.precision is run.precision
        ]
        row: dict[str, Any] = {"plan": name, "precision": str(run.precision)}
        if run.record.status not in ENDED_WELL or not same or not same[0].losses:
            rows.append({**row, "error": run.record.message or "nothing to compare with"})
            continue
        pairs = list(zip(run.losses, same[0].losses, strict=True))
        differences = [abs(one - other) for one, other in pairs]
        tolerance = TOLERANCE[run.precision]
        row |= {
            "steps": len(pairs),
            "largest_difference": max(differences),
            "at_step": differences.index(max(differences)) + 1,
            "mean_difference": statistics.fmean(differences),
            "last_loss": run.losses[-1],
            "tolerance": tolerance,
            "same": max(differences) <= tolerance,
            "losses": run.losses,
        }
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """What a person reads."""
    head = (
        f"{'plan':20}  {'precision':>9}  {'steps':>5}  {'largest':>9}  {'mean':>9}  {'allowed':>8}"
    )
    lines = [head]
    for row in rows:
        if "error" in row:
            lines.append(f"{row['plan']:20}  {row['precision']:>9}  {row['error']}")
            continue
        verdict = "same" if row["same"] else "DIFFERS"
        lines.append(
            f"{row['plan']:20}  {row['precision']:>9}  {row['steps']:5}  "
            f"{row['largest_difference']:9.2e}  {row['mean_difference']:9.2e}  "
            f"{row['tolerance']:8.0e}  {verdict}"
        )
    return "\n".join(lines)


def main() -> int:
    """Train, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50, help="first steps to compare")
    parser.add_argument("--cpu", action="store_true", help="leave the GPUs alone")
    parser.add_argument("--jobs", type=int, help="plans at once [by the cores]")
    parser.add_argument("--only", nargs="+", choices=list(PLANS), help="these and one process")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON, with every loss")
    options = parser.parse_args()
    began = time.monotonic()
    request = request_for(cpu=options.cpu, epochs=1)
    per_epoch = math.ceil(request.dataset.lengths.rows_kept / EFFECTIVE_BATCH)
    request = request_for(cpu=options.cpu, epochs=math.ceil(options.steps / per_epoch))
    wanted = {
        name: changes
        for name, changes in PLANS.items()
        if possible(request.machine, changes, cpu=request.on_cpu)
        and (not options.only or name in (*options.only, *REFERENCES.values()))
        and (request.on_cpu or name != "one process, bf16")  # on GPUs all are in bf16
    }
    jobs = options.jobs or max(1, (os.cpu_count() or 1) // CORES_A_RUN)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        futures = {
            name: pool.submit(
                train, name, plan_with(request, changes), Path(folder), slot, options.steps
            )
            for slot, (name, changes) in enumerate(wanted.items())
        }
        runs = {name: future.result() for name, future in futures.items()}
    rows = compared(runs)
    print(table(rows))
    print(
        f"{time.monotonic() - began:.0f} s; not run: {', '.join(set(PLANS) - set(wanted)) or '-'}"
    )
    if options.output:
        device = next((run.record.device_name for run in runs.values()), "")
        document = {"device": device, "date": time.strftime("%Y-%m-%d"), "versions": versions()}
        write_json(options.output, {**document, "plans": rows})
    return 0 if all(row.get("same") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
