"""Trainer's settings for a job, and where the job evaluates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import tiny
from tsplanner.training.job import Job, JobKind
from tsplanner.training.solo import trainer
from tsplanner.training.solo.trainer import eval_steps


def test_evaluations_are_spread_evenly_and_end_each_epoch() -> None:
    """Two epochs of 5 steps with two evaluations each: steps 2, 5, 7 and 10."""
    assert sorted(eval_steps(10, 5, 2)) == [2, 5, 7, 10]
    assert sorted(eval_steps(3, 3, 1)) == [3]
    assert sorted(eval_steps(1, 1, 6)) == [1]


def job(folder: Path, kind: JobKind, **more: Any) -> Job:
    """A job of the tiny plan."""
    return Job(kind=kind, plan=tiny.plan(folder), folder=str(folder / "run"), **more)


def test_trainers_settings_are_the_plans(tmp_path: Path) -> None:
    """Micro-batches of 2, accumulated twice; 3 % of 10 steps is one step of warm-up."""
    found = trainer.training_arguments(job(tmp_path, JobKind.TRAIN), total_steps=10, evaluate=True)
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
    found = trainer.training_arguments(
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
    assert trainer.accumulation(replace(base, plan=plan)) == expected


@given(steps=st.integers(1, 60), epoch=st.integers(1, 20), evals=st.integers(1, 8))
def test_evaluations_lie_within_the_run_and_end_it(steps: int, epoch: int, evals: int) -> None:
    """Never before the first step, always after the last of every epoch."""
    found = trainer.eval_steps(steps, epoch, evals)
    assert all(1 <= step <= steps for step in found)
    assert {min(steps, (number + 1) * epoch) for number in range(-(-steps // epoch))} <= found
    assert len(found) <= evals * -(-steps // epoch)


def test_steps_of_an_epoch_are_those_of_the_forecast(tmp_path: Path) -> None:
    """18 rows, 4 a step: five steps, the last one short."""
    assert trainer.steps_per_epoch(18, tiny.plan(tmp_path)) == 5


def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_do() -> None:
    """The step is named."""
    assert str(trainer.diverged(float("nan"), 3)).startswith("the loss is nan at step 3; lower")


def test_deepspeed_is_configured_only_where_something_is_sharded(tmp_path: Path) -> None:
    """As the exporter writes it."""
    plan = tiny.plan(tmp_path)
    assert trainer.deepspeed_config(plan) is None
    found = trainer.deepspeed_config(tiny.with_hardware(plan, zero_stage=2))
    assert found is not None
    assert found["zero_optimization"]["stage"] == 2


def test_left_out_micro_batches_are_timed_at_the_rate_of_those_that_ran(tmp_path: Path) -> None:
    """8 planned, 4 ran: 3 of them in 6 s and the last with the step in 4 s, so 10 + 4 x 2 s."""
    base = job(tmp_path, JobKind.PROBE)
    plan = tiny.with_hardware(base.plan, gradient_accumulation_steps=8)
    callback = trainer.PlanCallback(
        replace(base, plan=plan),
        SimpleNamespace(),
        lambda: False,  # type: ignore[arg-type]
    )
    callback._began, callback._substeps_ended, callback._substeps = 100.0, 106.0, 3
    assert callback._whole_step(110.0) == 10.0 + 4 * 2.0
    callback._substeps_ended = callback._began
    assert callback._whole_step(110.0) == 10.0
