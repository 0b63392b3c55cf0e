"""A study is asked for trials and told how they end, and it keeps what it was told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.study_worker import ended, opened
from tsplanner.tune.search.early_stopping import Deficit
from tsplanner.tune.study.trial_result import TrialState


def test_journal_of_the_version_before_goes_on(folder: Path) -> None:
    """Its words for how trials ended are read by one table, and its number of trials is kept."""
    study = opened(folder)
    told = (
        {"state": "done", "eval_loss": 1.5, "ends as": "COMPLETE"},
        {"state": "stopped", "eval_loss": 1.9, "behind": [0, 0.4, 0.1], "ends as": "PRUNED"},
        {"state": "failed", "eval_loss": None, "ends as": "PRUNED"},
        {"state": "failed", "eval_loss": None, "ends as": "FAIL"},
        {"state": "not started", "eval_loss": None, "ends as": "PRUNED"},
    )
    for outcome in told:
        study.queue.finish(study.ask().handle, {"message": "", "behind": None, **outcome})
    after = opened(folder)
    results = after.results()
    assert [one.state for one in results] == [
        TrialState.COMPLETED,
        TrialState.PRUNED,
        TrialState.FAILED,
        TrialState.FAILED,
        TrialState.REJECTED,
    ]
    assert [one.diverged for one in results] == [False, False, True, False, False]
    assert results[1].deficit == Deficit(rival=0, difference=0.4, error=0.1)
    after.workers.want(1)
    assert after.workers.wanted == 5
    assert after.claim() is not None
    assert after.claim() is None


def test_a_trial_that_ended_is_in_its_folder_and_in_the_study(folder: Path) -> None:
    """The folder comes first, so that a kill between the two loses nothing."""
    study = opened(folder)
    proposal = study.ask()
    assert proposal.learning == study.encoding.baseline
    study.report(proposal, 2.5, 4)
    study.tell(proposal, ended(0, proposal.learning))
    outcome = json.loads((folder / "trials" / "0" / "outcome.json").read_text())
    assert (outcome["state"], outcome["eval_loss"]) == ("completed", 1.005)
    assert study.results() == [ended(0, proposal.learning)]
    assert study.queue.trials()[0].intermediate_values == {4: 2.5}


def test_no_trial_is_claimed_before_any_is_wanted(folder: Path) -> None:
    """`ask` gives one whatever is wanted; `claim` keeps to the number."""
    study = opened(folder)
    assert study.claim() is None
    study.workers.want(1)
    assert study.claim() is not None
    assert study.claim() is None
    assert study.ask().number == 1


def test_trials_of_the_confirmation_are_no_observations(folder: Path) -> None:
    """They run on fresh seeds, so their losses are compared in pairs alone."""
    study = opened(folder)
    first = study.ask()
    study.tell(first, ended(first.number, first.learning))
    study.enqueue([(study.encoding.baseline, 43)])
    fresh = study.ask()
    assert (fresh.seed, fresh.learning.seed) == (43, 43)
    study.tell(fresh, ended(fresh.number, fresh.learning, fresh.seed))
    assert [result.seed for result in study.results()] == [None, 43]
    ((number, observation),) = study.observations()
    assert number == 0
    assert observation.point == study.encoding.point(study.encoding.baseline)
    assert (observation.loss, observation.error) == (1.005, 0.0)


def test_an_observation_is_less_certain_where_held_out_rows_scatter(folder: Path) -> None:
    """Differences of 1, 1, 1, 1 and 6 nats on five rows have a standard error of 1."""
    study = opened(folder)
    losses = {0: [1.0] * 5, 1: [2.0, 2.0, 2.0, 2.0, 7.0]}
    for number, rows in losses.items():
        proposal = study.ask()
        own = folder / "trials" / str(number)
        own.mkdir(parents=True)
        line = {"step": 1, "rows": [[loss, 10] for loss in rows]}
        (own / "eval_rows.json").write_text(json.dumps(line))
        study.tell(proposal, ended(number, proposal.learning))
    (_, baseline), (_, other) = study.observations()
    assert baseline.error == 0.0
    assert other.error == pytest.approx(1.0)


def test_the_baseline_is_its_own_completed_trial(folder: Path) -> None:
    """Neither a trial on a fresh seed nor one that failed stands for it."""
    study = opened(folder)
    learning = replace(study.encoding.baseline, seed=42)
    assert study.is_baseline(ended(0, learning))
    assert not study.is_baseline(ended(0, learning, seed=43))
    assert not study.is_baseline(replace(ended(0, learning), state=TrialState.FAILED))


def test_memory_is_told_to_optuna_as_a_constraint(folder: Path) -> None:
    """An estimate and what happened are two names, since Optuna keeps the first value of each."""
    study = opened(folder)
    proposal = study.ask()
    study.set_memory(proposal, -1024)
    study.ran_out(proposal, 0)
    (trial,) = study.queue.trials()
    assert trial.constraints == {"memory_bytes_over": -1024.0, "memory_bytes_over_in_fact": 1.0}


def test_leaving_a_study_leaves_its_trials_to_others(folder: Path) -> None:
    """What was in flight is queued again by whoever leads next."""
    with opened(folder) as study:
        study.ask()
    after = opened(folder)
    assert after.workers.lead() == 1
    assert after.busy_elsewhere()
