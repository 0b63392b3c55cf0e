"""Trials of one study and several processes: no trial is claimed twice, and none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.study_processes import begin, numbers, said, worker
from tests.support.study_worker import ended, opened
from tsplanner.tune.study.study import Study


def states(study: Study) -> list[str]:
    """Optuna's state of every trial, by number."""
    return [trial.state.name for trial in study.queue.trials()]


@pytest.mark.slow
def test_two_workers_share_the_trials_and_repeat_none(folder: Path) -> None:
    """Of 12 trials each is run once, whoever takes it, and no two try the same rate and rank."""
    with worker(folder, "lead", "12") as one, worker(folder, "join") as other:
        begin(one)
        begin(other)
        taken = [*numbers(one), *numbers(other)]
    assert sorted(taken) == list(range(12))
    found = opened(folder).results()
    assert (
        len(
            {
                (one.learning.method.lora_rank, one.learning.optimization.learning_rate)
                for one in found
            }
        )
        == 12
    )


@pytest.mark.slow
def test_killed_workers_trial_is_queued_again_once(folder: Path) -> None:
    """The baseline was in flight with a worker that was killed: the others run it, one of them."""
    with (
        worker(folder, "lead", "6") as one,
        worker(folder, "join") as other,
        worker(folder, "hang") as lost,
    ):
        begin(lost)
        assert said(lost) == "0"
        lost.kill()
        lost.wait()
        begin(one)
        begin(other)
        taken = [*numbers(one), *numbers(other)]
    study = opened(folder)
    assert sorted(taken) == [1, 2, 3, 4, 5, 6]
    assert states(study) == ["FAIL", *["COMPLETE"] * 6]
    baseline = study.encoding.baseline
    assert sum(one.learning == baseline for one in study.results()) == 1


def test_trial_of_a_worker_killed_before_it_could_tell_is_not_repeated(folder: Path) -> None:
    """Its outcome lies in its folder and is told by whoever comes next."""
    study = opened(folder)
    proposal = study.ask()
    study.queue.finish = lambda *_: None  # type: ignore[method-assign]
    study.tell(proposal, ended(proposal.number, proposal.learning))
    assert states(study) == ["RUNNING"]
    after = opened(folder)
    assert after.workers.lead() == 0
    assert states(after) == ["COMPLETE"]
    assert after.results() == [ended(0, proposal.learning)]


def test_copy_in_the_queue_is_not_made_again_after_a_kill_between_two_steps(folder: Path) -> None:
    """A worker died between queueing the copy and failing the original: still one copy."""
    study = opened(folder)
    lost = study.ask()
    study.access.study.enqueue_trial(study.parameters(lost.learning), user_attrs={"retry of": 0})
    opened(folder).workers.lead()
    assert states(study) == ["FAIL", "WAITING"]


def test_result_of_a_worker_that_was_taken_for_dead_is_left_out(folder: Path) -> None:
    """A machine that slept wakes up and tells: its trial runs elsewhere by then."""
    slept = opened(folder)
    proposal = slept.ask()
    opened(folder).workers.lead()
    slept.report(proposal, 1.5, 3)
    slept.tell(proposal, ended(0, proposal.learning))
    assert states(slept) == ["FAIL", "WAITING"]
    assert slept.results() == []


def test_trial_whose_own_process_was_killed_is_given_back_once(folder: Path) -> None:
    """An accident is no result; the second one is."""
    study = opened(folder)
    first = study.ask()
    assert study.release(first)
    second = study.ask()
    assert second.learning == first.learning
    assert not study.release(second)
    assert states(study) == ["FAIL", "RUNNING"]


def test_trial_of_the_confirmation_goes_back_with_its_seed(folder: Path) -> None:
    """A fresh seed belongs to the trial, whoever runs it; and it is asked for once."""
    study = opened(folder)
    study.workers.want(0)
    wanted = [(study.encoding.baseline, 43)]
    study.enqueue(wanted)
    study.enqueue(wanted)
    lost = study.claim()
    assert lost is not None
    after = opened(folder)
    after.workers.lead()
    again = after.claim()
    assert again is not None
    assert (again.number, again.seed, again.learning) == (1, 43, lost.learning)
    assert after.claim() is None


def test_a_damaged_trial_that_waits_is_ended_and_the_next_one_is_taken(folder: Path) -> None:
    """What a trial was to run with is a number instead of settings, or no setting at all."""
    study = opened(folder)
    for _ in range(2):
        study.enqueue([(study.encoding.baseline, 43)])
    stored = study.queue._study
    for trial, value in zip(stored.get_trials(deepcopy=False), (7, {}), strict=False):
        stored._storage.set_trial_system_attr(trial._trial_id, "fixed_params", value)
    first = study.queue.damaged()
    assert first
    assert study.ask().number not in first
    kinds = {trial.number: trial.state.name for trial in stored.get_trials(deepcopy=False)}
    assert [kinds[number] for number in first] == ["FAIL"] * len(first)
