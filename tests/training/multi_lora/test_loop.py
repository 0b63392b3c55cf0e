"""The job of a trial on a shared base. What the loop does stands in test_multi_lora_curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import changed
from tests.support import multi_lora, tiny
from tsplanner.training.job import MultiLoraTrial
from tsplanner.training.multi_lora.loop import max_concurrent_trials, trial_job


@pytest.mark.parametrize(("effective", "steps"), [(8, 4), (2, 1), (1, 1)])
def test_a_trial_accumulates_to_its_own_effective_batch(
    tmp_path: Path, effective: int, steps: int
) -> None:
    """The micro-batch of two rows is the base's: 8 / 2 = 4 micro-batches per step."""
    plan = tiny.plan(tmp_path)
    learning = changed(plan.learning, effective_batch_size=effective)
    trial = MultiLoraTrial(learning=learning, folder="own", evals_per_epoch=3)
    found = trial_job(multi_lora.shared_job(plan, tmp_path, []), trial)
    assert found.plan.hardware.batch.gradient_accumulation_steps == steps
    assert found.plan.learning == learning
    assert (found.folder, found.evals_per_epoch, found.shared) == ("own", 3, None)


def test_a_trial_is_evaluated_as_often_as_its_job_says(tmp_path: Path) -> None:
    """Unless the trial says otherwise."""
    plan = tiny.plan(tmp_path)
    job = replace(multi_lora.shared_job(plan, tmp_path, []), evals_per_epoch=5)
    found = trial_job(job, MultiLoraTrial(learning=plan.learning, folder="own"))
    assert found.evals_per_epoch == 5


@pytest.mark.parametrize(("limit", "expected"), [(2, 2), (None, 3)])
def test_all_trials_of_a_job_train_at_once_without_a_limit(
    tmp_path: Path, limit: int | None, expected: int
) -> None:
    """Three trials, two places or as many as there are trials."""
    plan = tiny.plan(tmp_path)
    job = multi_lora.shared_job(
        plan, tmp_path, multi_lora.trials(plan), max_concurrent_trials=limit
    )
    assert max_concurrent_trials(job) == expected
    assert max_concurrent_trials(replace(job, shared=None)) == 1
