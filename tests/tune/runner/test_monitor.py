"""How trials are judged: pruned, failed, released, or the end of the search."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_models.settings import changed, from_flat
from tests.support import tiny
from tests.support.searching import Worker, by_rank, search
from tests.support.study_worker import ended
from tsplanner.errors import TsplannerError
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Evaluation, Record
from tsplanner.tune.runner.monitor import RunningTrial
from tsplanner.tune.runner.runner import Search
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
        Worker(by_rank, Status.DIVERGED, "process 1: diverged: the loss is nan"),
    )
    built.run(2)
    assert [found.state for found in study.results()] == [TrialState.FAILED, TrialState.FAILED]


def claimed(built: Search) -> RunningTrial:
    """The first trial of a search."""
    built.study.workers.want(2)
    trial = built.source.claim()
    assert trial is not None
    return trial


def test_trials_without_held_out_rows_end_the_search(tmp_path: Path) -> None:
    """There is nothing to compare them by, and the sentence says what to change."""
    built, _, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank))
    record = Record(status=Status.OK, kind=JobKind.TRIAL)
    with pytest.raises(TsplannerError, match="need held-out rows to be compared by"):
        built.monitor.judge(claimed(built), record)


def test_a_trial_is_judged_by_its_lowest_loss(tmp_path: Path) -> None:
    """Over-fitting after it does not count against the settings."""
    built, study, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank))
    losses = [Evaluation(epoch=one, step=one, loss=loss) for one, loss in ((1, 2.0), (2, 1.5))]
    worse = Evaluation(epoch=3, step=3, loss=1.75)
    record = from_flat(Record, status=Status.OK, kind=JobKind.TRIAL, evaluations=(*losses, worse))
    built.monitor.judge(claimed(built), record)
    assert [(one.state, one.eval_loss) for one in study.results()] == [(TrialState.COMPLETED, 1.5)]


def test_an_out_of_memory_is_told_to_the_study_once(tmp_path: Path) -> None:
    """900 MiB were the bound and 1,000 were held: 100 MiB over it."""
    built, study, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank))
    trial = claimed(built)
    record = from_flat(
        Record,
        status=Status.HOST_OOM,
        kind=JobKind.TRIAL,
        process_bytes=1000 * 2**20,
        message="full",
    )
    built.monitor.ran_out(trial, record, trial.plan)
    built.monitor.ran_out(trial, changed(record, process_bytes=2**40), trial.plan)
    (told,) = [one.constraints for one in study.queue.trials()]
    assert told["memory_bytes_over_in_fact"] == 100 * 2**20
    with pytest.raises(TsplannerError, match="own settings failed: full"):
        built.monitor.judge(trial, record)
    assert [(one.state, one.message) for one in study.results()] == [
        (TrialState.FAILED, "host_oom: full")
    ]


def test_what_ended_elsewhere_is_told_once(tmp_path: Path) -> None:
    """Another process tells the study; this one's listeners hear of it at their next look."""
    built, study, view = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank))
    proposal = study.ask()
    study.tell(proposal, ended(0, proposal.learning))
    for _ in range(2):
        built.monitor.see_others()
    assert [one.number for one in view.results] == [0]


def test_progress_is_a_share_of_all_epochs(tmp_path: Path) -> None:
    """1.5 of 3 epochs are half; a line without an epoch is the start."""
    built, _, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank))
    trial = claimed(built)
    built.monitor.see_metrics(trial, {"step": 5, "epoch": 1.5, "loss": 1.0})
    assert trial.progress == 0.5
    built.monitor.see_metrics(trial, {"step": 0})
    assert trial.progress == 0.0


@pytest.mark.parametrize(
    ("status", "again"),
    [
        (Status.NOT_WRITABLE, 1),
        (Status.KILLED, 2),
        (Status.HUNG, 2),
        (Status.PEER_LOST, 2),
        (Status.STOPPED, 2),
    ],
)
def test_what_came_from_outside_costs_no_setting(
    tmp_path: Path, status: Status, again: int
) -> None:
    """A full disk waits for a person; anything else is tried once more before. Then it is resumed.

    The first search is ended with the baseline in flight, and tells nothing of it to the study.
    """
    plan = tiny.plan(tmp_path)
    worker = Worker(by_rank, status, "The disk is full.")
    built, study, _ = search(tmp_path / "run", plan, worker)
    with pytest.raises(TsplannerError, match=r"was ended from outside \(The disk is full\)"):
        built.run(2)
    assert len(worker.jobs) == again
    assert study.results() == []
    study.workers.leave()
    sound, study, _ = search(tmp_path / "run", plan, Worker(by_rank))
    sound.run(2)
    found = study.results()
    assert [one.state for one in found] == [TrialState.COMPLETED] * 2
    assert found[0].learning == study.encoding.baseline
