"""When a winner is believed: pairs on fresh seeds with stand-in workers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.searching import SPACE, Worker, search
from tsplanner.training.job import Job
from tsplanner.tune.confirmation import Decision, Reason, best_epochs, confirm
from tsplanner.tune.sentences import decision_sentence


def decide(folder: Path, worker: Worker, *, pairs: int = 2, trials: int = 4) -> Decision:
    """A search of the tiny plan and its confirmation."""
    built, study, _ = search(folder / "run", tiny.plan(folder), worker)
    built.run(trials)
    decision = confirm(study, built, pairs)
    assert decision is not None
    return decision


def falling(job: Job) -> float:
    """Twice the rate is better by a third of a nat, on every seed."""
    return 2.0 - 0.5 * math.log(job.plan.learning.optimization.learning_rate / 1e-4)


def test_clear_winner_is_used(tmp_path: Path) -> None:
    """Better on the fresh seed by the same amount as in the search."""
    worker = Worker(falling)
    decision = decide(tmp_path, worker)
    assert not decision.keeps_baseline
    assert decision.learning.optimization.learning_rate == SPACE.learning_rate[1]
    assert decision.evidence.difference == pytest.approx(-0.5 * math.log(2), abs=1e-6)
    assert decision.evidence.fresh_seeds == 1
    assert "using it" in decision_sentence(decision)
    assert [job.plan.learning.seed for job in worker.jobs] == [42] * 4 + [43, 43]


def test_winner_that_was_only_lucky_is_not_used(tmp_path: Path) -> None:
    """Better on the plan's seed, as much worse on fresh ones: the baseline is kept."""

    def lucky(job: Job) -> float:
        return falling(job) if job.plan.learning.seed == 42 else 4.0 - falling(job)

    worker = Worker(lucky)
    decision = decide(tmp_path, worker)
    assert decision.keeps_baseline
    assert decision.learning.method.lora_rank == 16
    assert "keeping the baseline" in decision_sentence(decision)


@pytest.mark.parametrize("trials", [1, 2, 3, 4])
def test_without_proof_on_a_fresh_seed_the_baseline_stays(tmp_path: Path, trials: int) -> None:
    """However clear the search was, and however few its trials: no pair, no winner."""
    decision = decide(tmp_path, Worker(falling), pairs=0, trials=trials)
    assert decision.keeps_baseline
    assert decision.reason is Reason.UNTESTED
    assert "keeping the baseline" in decision_sentence(decision)


def test_interval_is_told_and_covers_the_difference(tmp_path: Path) -> None:
    """The 95 % interval is around the mean of the pairs and not of no width."""
    decision = decide(tmp_path, Worker(falling))
    assert decision.evidence.half_width is not None
    assert decision.evidence.half_width > 0
    assert "(95 %)" in decision_sentence(decision)


def test_baseline_that_is_best_needs_no_confirmation(tmp_path: Path) -> None:
    """A valley around the baseline: no further trial runs."""

    def valley(job: Job) -> float:
        return 1.0 + math.log(job.plan.learning.optimization.learning_rate / 5e-3) ** 2

    worker = Worker(valley)
    decision = decide(tmp_path, worker)
    assert decision.keeps_baseline
    assert len(worker.jobs) == 4


def test_resumed_confirmation_repeats_nothing(tmp_path: Path) -> None:
    """Pairs that were run before the search was cut off are read from the journal."""
    first = decide(tmp_path, Worker(falling))
    worker = Worker(falling)
    built, study, _ = search(tmp_path / "run", tiny.plan(tmp_path), worker)
    again = confirm(study, built, 2)
    assert again == first
    assert worker.jobs == []


def test_epochs_are_read_along_a_trial(tmp_path: Path) -> None:
    """The end of epoch 1 is lowest of the ends of epochs; marks between them do not count."""
    lines = [(0.5, 0.9), (1.0, 1.0), (2.0, 1.2), (3.0, 1.4)]
    text = "".join(
        f'{{"step": {int(4 * epoch)}, "epoch": {epoch}, "rows": [[{loss}, 7]]}}\n'
        for epoch, loss in lines
    )
    (tmp_path / "eval_rows.jsonl").write_text(text)
    assert best_epochs(tmp_path, (1, 2, 3)) == 1
    assert best_epochs(tmp_path, (2, 3)) == 2
    assert best_epochs(tmp_path / "none", (1, 2)) == 2
