"""Trainer's settings for a job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tsplanner.training.job import Job, JobKind
from tsplanner.training.solo.arguments import accumulation, deepspeed_config, training_arguments


def job(folder: Path, kind: JobKind, **more: Any) -> Job:
    """A job of the tiny plan."""
    return Job(kind=kind, plan=tiny.plan(folder), folder=str(folder / "run"), **more)


def test_trainers_settings_are_the_plans(tmp_path: Path) -> None:
    """Micro-batches of 2, accumulated twice; 3 % of 10 steps is one step of warm-up."""
    found = training_arguments(job(tmp_path, JobKind.TRAIN), total_steps=10, evaluate=True)
    assert found.per_device_train_batch_size == 2
    assert found.gradient_accumulation_steps == 2
    assert (found.learning_rate, found.num_train_epochs, found.max_steps) == (5e-3, 2, -1)
    assert found.warmup_steps == 1
    assert found.eval_on_start
    assert found.output_dir.endswith("run/checkpoints")
    assert (found.bf16, found.fp16, found.use_cpu) == (False, False, True)
    assert found.deepspeed is None


def test_a_probe_runs_whole_micro_batches_and_saves_nothing(tmp_path: Path) -> None:
    """Each item of its data is a micro-batch already; it takes the steps it is asked for."""
    found = training_arguments(
        job(tmp_path, JobKind.PROBE, probe_steps=5), total_steps=5, evaluate=False
    )
    assert (found.per_device_train_batch_size, found.max_steps) == (1, 5)
    assert found.save_strategy == "no"
    assert not found.eval_on_start


@pytest.mark.parametrize(
    ("kind", "planned", "expected"),
    [
        (JobKind.PROBE, 64, 4),
        (JobKind.PROBE, 3, 3),
        (JobKind.PROBE, 1, 1),
        (JobKind.TRIAL, 64, 64),
    ],
)
def test_a_probe_runs_a_few_micro_batches_of_each_step(
    tmp_path: Path, kind: JobKind, planned: int, expected: int
) -> None:
    """The rest is counted at their rate."""
    base = job(tmp_path, kind)
    plan = tiny.with_hardware(base.plan, gradient_accumulation_steps=planned)
    assert accumulation(replace(base, plan=plan)) == expected


def test_steps_and_cadence_go_to_trainer(tmp_path: Path) -> None:
    """A number of steps goes before the epochs, and a number of warm-up steps before the share."""
    base = job(tmp_path, JobKind.TRAIN)
    plan = tiny.with_learning(
        base.plan, max_steps=7, save_steps=3, warmup_steps=4, num_train_epochs=0.5
    )
    found = training_arguments(replace(base, plan=plan), total_steps=7, evaluate=True)
    assert (found.max_steps, found.num_train_epochs, found.warmup_steps) == (7, 0.5, 4)
    assert (found.save_strategy, found.save_steps) == ("steps", 3)


def test_deepspeed_is_configured_only_where_something_is_sharded(tmp_path: Path) -> None:
    """As the exporter writes it."""
    plan = tiny.plan(tmp_path)
    assert deepspeed_config(plan) is None
    found = deepspeed_config(tiny.with_hardware(plan, zero_stage=2))
    assert found is not None
    assert found["zero_optimization"]["stage"] == 2
