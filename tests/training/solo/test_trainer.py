"""Where a job evaluates and ends, and how its steps are timed."""

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
