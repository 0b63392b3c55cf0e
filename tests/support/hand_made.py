"""Runs with figures written by hand, to compare and to draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from memory_models.device import Device
from memory_models.result import Component, Interval
from tests.support import tiny
from tsplanner.planner.files import write_plan
from tsplanner.planner.plan import Plan
from tsplanner.report.records.run_record import RunFacts, own_run
from tsplanner.training.job import Evaluation, JobKind, Record, Status

GIB = 2**30
HELD_OUT = [(0.5, 10), (0.7, 10), (0.6, 10), (0.4, 10), (0.8, 10)]


def facts(name: str = "a", **changes: Any) -> RunFacts:
    """A run of a 7B on two cards, unless the changes say otherwise."""
    base = RunFacts(
        name=name,
        model="m-7b",
        parameters=7_000_000_000,
        method="lora",
        quantization=None,
        precision="bf16",
        device="Card X",
        gpus=2,
        sharding="none",
        dataset="rows",
        rows_total=420,
        rows_kept=418,
        mean_sequence=1000.0,
        validation_fraction=0.1,
        seed=42,
        effective_batch=16,
        micro_batch=2,
        rank=8,
        learning_rate=2e-4,
        schedule="cosine",
        epochs=3.0,
        steps=78,
        seconds=1200.0,
        samples_per_second=2.0,
        mean_loss=0.64,
        last_loss=0.47,
        eval_loss=0.6,
        best_epoch=2.0,
        held_out=HELD_OUT,
    )
    return replace(base, **changes)


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


RECORD = Record(
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


def trained(folder: Path, name: str = "a", **changes: Any) -> RunFacts:
    """A run on a card with its plan, its curve and its measured peaks."""
    lines = folder / "lines"
    lines.mkdir(exist_ok=True)
    (lines / "metrics.jsonl").write_text(METRICS)
    return replace(own_run(name, gpu_plan(folder), RECORD, lines), **changes)
