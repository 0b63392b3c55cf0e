"""Runs with figures written by hand, to compare and to draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from memory_models.device import Device
from memory_models.result import Component, Interval
from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.planner.files import write_plan
from tsplanner.planner.plan import Plan
from tsplanner.report.records.read_runs import own_run
from tsplanner.report.records.run_record import (
    DatasetSummary,
    HardwareSummary,
    Losses,
    ModelSummary,
    Outcome,
    RunSummary,
    SettingsSummary,
)
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Evaluation, Record

GIB = 2**30
HELD_OUT = [(0.5, 10), (0.7, 10), (0.6, 10), (0.4, 10), (0.8, 10)]


PLACES = {
    "parameters": "model",
    "quantization": "model",
    "precision": "model",
    "device": "hardware",
    "gpus": "hardware",
    "on_cpu": "hardware",
    "sharding": "hardware",
    "rows_kept": "dataset",
    "mean_sequence": "dataset",
    "validation_fraction": "dataset",
    "method": "settings",
    "rank": "settings",
    "learning_rate": "settings",
    "schedule": "settings",
    "seed": "settings",
    "effective_batch": "settings",
    "micro_batch": "settings",
    "epochs": "outcome",
    "steps": "outcome",
    "status": "outcome",
    "message": "outcome",
    "seconds": "outcome",
    "samples_per_second": "outcome",
    "step_seconds": "outcome",
    "process_bytes": "memory",
    "reserved_bytes": "memory",
    "allocated_bytes": "memory",
    "training": "curves",
    "evaluations": "curves",
}
"""The record of a run that holds a field."""

RENAMED = {
    "model": ("model", "name"),
    "dataset": ("dataset", "name"),
    "mean_loss": ("losses", "mean"),
    "last_loss": ("losses", "last"),
    "eval_loss": ("losses", "held_out"),
    "held_out": ("losses", "held_out_rows"),
}
"""The record and the field of what has a longer name in a test."""


def changed(run: RunSummary, **changes: Any) -> RunSummary:
    """The run with other values, each by one name whichever record holds the value."""
    for key, value in changes.items():
        part, field = RENAMED.get(key, (PLACES.get(key), key))
        if part is None:
            run = replace(run, **{field: value})
        else:
            run = replace(run, **{part: replace(getattr(run, part), **{field: value})})
    return run


def summary(name: str = "a", **changes: Any) -> RunSummary:
    """A run of a 7B on two cards, unless the changes say otherwise."""
    base = RunSummary(
        name=name,
        model=ModelSummary(
            name="m-7b", parameters=7_000_000_000, quantization=None, precision="bf16"
        ),
        hardware=HardwareSummary(device="Card X", gpus=2, on_cpu=False, sharding="none"),
        dataset=DatasetSummary(
            name="rows",
            rows_total=420,
            rows_kept=418,
            mean_sequence=1000.0,
            validation_fraction=0.1,
        ),
        settings=SettingsSummary(
            method="lora",
            rank=8,
            learning_rate=2e-4,
            schedule="cosine",
            seed=42,
            effective_batch=16,
            micro_batch=2,
        ),
        outcome=Outcome(epochs=3.0, steps=78, seconds=1200.0, samples_per_second=2.0),
        losses=Losses(mean=0.64, last=0.47, held_out=0.6, best_epoch=2.0, held_out_rows=HELD_OUT),
    )
    return changed(base, **changes)


def gpu_plan(folder: Path) -> Plan:
    """A plan on a card of 24 GiB, 20 of them free, with parts that add up to 16 GiB."""
    plan = tiny.plan(folder)
    card = Device(
        name="Card X", total_bytes=24 * GIB, free_bytes=20 * GIB, compute_capability=(8, 9)
    )
    parts = (
        ("base weights", 9 * GIB),
        ("adapters", GIB // 16),
        ("optimizer states", GIB // 8),
        ("kept activations", 3 * GIB),
        ("block in work", GIB),
        ("head and loss", GIB),
        ("context and libraries", GIB),
        ("fragmentation", GIB - GIB // 8 - GIB // 16),
    )
    memory = replace(
        plan.memory,
        process_bytes=Interval(expected=16 * GIB, upper=18 * GIB),
        components=tuple(Component(name=name, bytes=size) for name, size in parts),
    )
    return replace(
        plan,
        machine=replace(plan.machine, devices=(card,)),
        hardware=replace(plan.hardware, accelerator="cuda"),
        memory=memory,
        free_bytes=20 * GIB,
    )


RECORD = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.TRAIN,
    device_name="Card X",
    steps=10,
    epochs=2.0,
    seconds=90.0,
    last_loss=0.18,
    mean_loss=0.473,
    peak_allocated_bytes=14 * GIB,
    peak_reserved_bytes=15 * GIB,
    process_bytes=17 * GIB,
    samples_per_second=1.609,
    start_eval_loss=2.0,
    evaluations=(Evaluation(epoch=1, step=5, loss=0.41), Evaluation(epoch=2, step=10, loss=0.44)),
)

METRICS = """{"step": 0, "epoch": 0.0, "eval_loss": 2.0}
{"step": 1, "epoch": 0.2, "loss": 2.1}
{"step": 5, "epoch": 1.0, "loss": 0.6}
{"step": 5, "epoch": 1.0, "eval_loss": 0.41}
{"step": 10, "epoch": 2.0, "loss": 0.18}
{"step": 10, "epoch": 2.0, "eval_loss": 0.44}
"""


def add_run(saves: Path, name: str, record: Record = RECORD, plan: Plan | None = None) -> Path:
    """A finished run as the worker leaves it."""
    folder = saves / "tiny" / "lora" / name
    folder.mkdir(parents=True)
    write_plan(plan or tiny.plan(saves / ".."), folder / "plan.json")
    (folder / "record.json").write_bytes(msgspec.json.encode(record))
    (folder / "metrics.jsonl").write_text(METRICS)
    return folder


def trained(folder: Path, name: str = "a", **changes: Any) -> RunSummary:
    """A run on a card with its plan, its curve and its measured peaks."""
    lines = folder / "lines"
    lines.mkdir(exist_ok=True)
    (lines / "metrics.jsonl").write_text(METRICS)
    return changed(own_run(name, gpu_plan(folder), RECORD, lines), **changes)
