"""How trials are judged: pruned, failed, released, or the end of the search."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.searching import Worker, by_rank, search
from tsplanner.errors import TsplannerError
from tsplanner.training.job import Job, Status
from tsplanner.tune.study.trial_result import TrialState


def test_bad_trial_is_stopped_early(tmp_path: Path) -> None:
    """A trial that is far behind a finished one on the same rows ends there."""
    plan = tiny.plan(tmp_path)
    seen: list[int] = []

    def fourth_is_bad(job: Job) -> float:
        number = int(Path(job.folder).name)
        seen.append(number)
        return 50.0 if number == 3 else 1.0 + number / 100

    built, study, _ = search(tmp_path / "run", plan, Worker(fourth_is_bad))
    built.run(4)
    last = study.results()[-1]
    assert last.number == 3
    assert last.state is TrialState.PRUNED
    assert "against trial 0 there" in last.message
    assert seen.count(3) == 2  # the first third is never judged


def test_baseline_that_crashes_ends_the_search(tmp_path: Path) -> None:
    """If the plan itself cannot be trained no trial can."""
    built, _, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank, Status.CRASHED))
    with pytest.raises(TsplannerError, match="boom"):
        built.run(4)


def test_helper_on_a_broken_machine_leaves_its_first_trial_to_the_others(tmp_path: Path) -> None:
    """One node without a working stack must not use up the trials of all."""
    plan = tiny.plan(tmp_path)
    broken, study, _ = search(tmp_path / "run", plan, Worker(by_rank, Status.CRASHED))
    study.workers.want(3)
    with pytest.raises(TsplannerError, match="failed, and is left to others: boom"):
        broken.help()
    assert study.results() == []
    sound, study, _ = search(tmp_path / "run", plan, Worker(by_rank))
    sound.run(3)
    assert [one.state for one in study.results()] == [TrialState.COMPLETED] * 3


def test_diverged_trial_of_several_ranks_is_a_failed_one(tmp_path: Path) -> None:
    """The rank's number before the message does not make it a crash of the plan."""
    plan = tiny.plan(tmp_path)
    built, study, _ = search(
        tmp_path / "run",
        plan,
        Worker(by_rank, Status.DIVERGED, "rank 1: diverged: the loss is nan"),
    )
    built.run(2)
    assert [found.state for found in study.results()] == [TrialState.FAILED, TrialState.FAILED]
