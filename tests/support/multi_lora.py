"""Trials alone and on a shared base, in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from memory_models.settings import FinetuningType, changed
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.training.job import Job, JobKind, MultiLoraTrial, SharedTrials, Status
from tsplanner.training.record import Record, parse_record

UNLIKE: tuple[dict[str, Any], ...] = (
    {"lora_rank": 2, "learning_rate": 5e-3, "seed": 1},
    {
        "lora_rank": 4,
        "lora_alpha": 4.0,
        "learning_rate": 2e-3,
        "lr_scheduler_type": "linear",
        "seed": 2,
        "weight_decay": 0.1,
        "num_train_epochs": 1,
    },
    {
        "lora_rank": 8,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "seed": 3,
        "max_grad_norm": 0.3,
        "warmup_ratio": 0.2,
        "lora_target": ("q_proj", "down_proj"),
        "finetuning_type": FinetuningType.RSLORA,
    },
)
"""Three trials that share nothing but the base; the second ends first."""


def trials(plan: Plan, changes: tuple[dict[str, Any], ...] = UNLIKE) -> list[LearningSettings]:
    """The plan's learning settings, changed."""
    return [changed(plan.learning, **change) for change in changes]


def shared_job(
    plan: Plan,
    folder: Path,
    learning: list[LearningSettings],
    *,
    max_concurrent_trials: int | None = None,
    open: bool = False,
    **options: Any,
) -> Job:
    """A worker's job, with a folder for each trial in its own."""
    own = tuple(
        MultiLoraTrial(learning=each, folder=str(folder / str(number)))
        for number, each in enumerate(learning)
    )
    shared = SharedTrials(trials=own, max_concurrent_trials=max_concurrent_trials, open=open)
    return Job(
        **{"kind": JobKind.TRIAL, "plan": plan, "folder": str(folder), "shared": shared, **options}
    )


def run_here(job: Job) -> Record:
    """Run a job as the worker does, in this process; its record."""
    from tsplanner.training.worker.base_model_cache import KeptBase
    from tsplanner.training.worker.execute import execute_one
    from tsplanner.training.worker.stop_switch import StopSwitch

    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    execute_one(folder / "job.json", StopSwitch(), KeptBase())
    return record_in(folder)


def record_in(folder: Path) -> Record:
    """The record that a run left."""
    return parse_record((folder / "record.json").read_bytes())


def lines_in(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without what differs from one run to the next."""
    from tsplanner.runs import read_json_lines

    rows = read_json_lines(folder / "metrics.jsonl")
    measured = {"seconds", "process_bytes"}
    return [{key: value for key, value in row.items() if key not in measured} for row in rows]


def alone(plan: Plan, learning: LearningSettings, folder: Path, **options: Any) -> Record:
    """The same trial in a run of its own."""
    steps = learning.optimization.effective_batch_size // plan.hardware.batch.micro_batch_size
    hardware = changed(plan.hardware, gradient_accumulation_steps=steps)
    own = replace(plan, learning=learning, hardware=hardware)
    record = run_here(Job(**{"kind": JobKind.TRIAL, "plan": own, "folder": str(folder), **options}))
    assert record.status is Status.OK, record.message
    return record


def read_rows(folder: Path) -> list[float]:
    """Held-out losses row by row at the best evaluation."""
    import json

    rows = json.loads((folder / "eval_rows.json").read_text())["rows"]
    return [loss for loss, _ in rows]


def tensors_in(adapter: Path) -> dict[str, Any]:
    """The tensors of a saved adapter."""
    from safetensors.torch import load_file

    return load_file(adapter / "adapter_model.safetensors")
