"""Trainer's settings for a job, and where the job evaluates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import tiny
from tsplanner.training.job import Job, JobKind
from tsplanner.training.memory import Unmetered
from tsplanner.training.record import Evaluation
from tsplanner.training.solo import trainer
from tsplanner.training.solo.recorder import Recorder


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


@pytest.mark.parametrize(
    ("kind", "expected"), [(JobKind.TRAIN, [4, 8, 10]), (JobKind.TRIAL, [5, 10])]
)
def test_a_full_run_evaluates_when_the_plan_says_and_a_trial_when_the_search_does(
    tmp_path: Path, kind: JobKind, expected: list[int]
) -> None:
    """Every 4 of 10 steps and at the end; a trial at the ends of its epochs of 5 steps."""
    base = job(tmp_path, kind)
    asked = replace(base, plan=tiny.with_learning(base.plan, eval_steps=4))
    assert sorted(trainer.eval_steps(asked, 10, 5)) == expected


def test_steps_and_cadence_go_to_trainer(tmp_path: Path) -> None:
    """A number of steps goes before the epochs, and a number of warm-up steps before the share."""
    base = job(tmp_path, JobKind.TRAIN)
    plan = tiny.with_learning(
        base.plan, max_steps=7, save_steps=3, warmup_steps=4, num_train_epochs=0.5
    )
    found = trainer.training_arguments(replace(base, plan=plan), total_steps=7, evaluate=True)
    assert (found.max_steps, found.num_train_epochs, found.warmup_steps) == (7, 0.5, 4)
    assert (found.save_strategy, found.save_steps) == ("steps", 3)


def ended_early(folder: Path, kind: JobKind, losses: list[float], patience: int | None) -> str:
    """Why a run with these held-out losses ends now; empty: it goes on."""
    base = job(folder, kind)
    plan = tiny.with_learning(base.plan, early_stopping_patience=patience)
    asked = replace(base, plan=plan)
    recorder = Recorder(asked, Unmetered())
    recorder.evaluations = [
        Evaluation(epoch=float(step), step=step, loss=loss) for step, loss in enumerate(losses, 1)
    ]
    return recorder.message if trainer.early_end(asked, recorder) else ""


def test_a_run_ends_once_its_held_out_loss_has_not_fallen_for_long_enough(tmp_path: Path) -> None:
    """The best of 2.0, 1.5, 1.6, 1.5 is the second: two evaluations have passed since."""
    losses = [2.0, 1.5, 1.6, 1.5]
    why = ended_early(tmp_path, JobKind.TRAIN, losses, 2)
    assert why == "ended early: no lower held-out loss in 2 evaluations after step 2"
    for kind, patience in ((JobKind.TRAIN, 3), (JobKind.TRAIN, None), (JobKind.TRIAL, 2)):
        assert ended_early(tmp_path, kind, losses, patience) == ""
    assert ended_early(tmp_path, JobKind.TRAIN, [], 1) == ""


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
