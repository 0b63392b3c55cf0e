"""Where the slots of a search get their trials from."""

from __future__ import annotations

import threading
from pathlib import Path

from memory_models.units import GIB
from tests.support import tiny
from tests.support.searching import Worker, by_rank, search
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.runner.source import StudySource
from tsplanner.tune.study.trial_result import TrialState


def built(folder: Path) -> Search:
    """A search that nothing has run in yet."""
    return search(folder / "run", tiny.plan(folder), Worker(by_rank))[0]


def test_a_trial_that_memory_refuses_is_rejected_and_the_next_is_claimed(tmp_path: Path) -> None:
    """The study learns by how much; no listener hears of a start."""
    found, plan = built(tmp_path), tiny.plan(tmp_path)
    over = iter([GIB // 2, 0])

    def feasible(_: LearningSettings) -> tuple[int, Plan]:
        return next(over), plan

    found.study.workers.want(2)
    trial = StudySource(found.study, feasible, found.monitor, threading.Event()).claim()
    assert trial is not None
    assert trial.proposal.number == 1
    (rejected,) = found.study.results()
    assert (rejected.state, rejected.message) == (
        TrialState.REJECTED,
        "0.50 GiB over the free memory",
    )
    told = [trial.constraints for trial in found.study.queue.trials()]
    assert told == [{"memory_bytes_over": GIB // 2}, {"memory_bytes_over": 0.0}]


def test_no_more_trials_are_given_than_are_wanted(tmp_path: Path) -> None:
    """One is wanted: the second claim finds none, unless the number changes before it."""
    found = built(tmp_path)
    found.study.workers.want(1)
    assert found.source.claim() is not None
    assert found.source.claim(wait=False) is None
    found.source.before_claim = lambda: found.study.workers.want(2)
    trial = found.source.claim(wait=False)
    assert trial is not None
    assert trial.proposal.number == 1


def test_an_interrupted_search_claims_nothing(tmp_path: Path) -> None:
    """Ctrl-C leaves no trial behind that never had a process."""
    found = built(tmp_path)
    found.study.workers.want(3)
    found.cancelled.set()
    assert found.source.claim() is None
    assert found.study.queue.trials() == []


def test_a_helper_ends_once_the_leader_has_decided(tmp_path: Path) -> None:
    """Until then a helper without a trial waits, since the leader may want another."""
    found = built(tmp_path)
    found.source.helps = True
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(found.source.claim()))
    thread.start()
    thread.join(timeout=0.1)
    assert thread.is_alive()
    found.study.workers.finish()
    found.cancelled.set()  # ends the pause between two looks
    thread.join(timeout=10)
    assert answers == [None]
    found.cancelled.clear()
    assert found.source.claim() is None


def test_an_accident_gives_a_trial_a_second_chance_and_no_third(tmp_path: Path) -> None:
    """The copy has the settings of the first and a number of its own."""
    found = built(tmp_path)
    found.study.workers.want(1)
    first = found.source.claim()
    assert first is not None
    assert found.source.release(first.proposal, "killed")
    second = found.source.claim()
    assert second is not None
    assert second.proposal.number == 1
    assert second.proposal.learning == first.proposal.learning
    assert not found.source.release(second.proposal, "killed")
