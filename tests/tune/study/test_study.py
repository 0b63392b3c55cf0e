"""A study is asked for trials and told how they end, and it keeps what it was told."""

from __future__ import annotations

from pathlib import Path

from tests.support.study_worker import opened
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
