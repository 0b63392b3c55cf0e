"""When a winner is believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsplanner.planner.plan import LearningSettings
from tsplanner.tune.final import decide, paired_difference
from tsplanner.tune.study import Result


def result(number: int, eval_loss: float | None, state: str = "done") -> Result:
    """A trial whose rank tells it apart."""
    learning = LearningSettings(lora_rank=4 + number)
    return Result(number=number, learning=learning, state=state, eval_loss=eval_loss, message="")


def write_rows(folder: Path, number: int, losses: list[float]) -> None:
    """Held-out losses of a trial, ten tokens a row."""
    trial = folder / str(number)
    trial.mkdir(parents=True)
    rows = [[loss, 10] for loss in losses]
    (trial / "eval_rows.json").write_text(json.dumps({"step": 5, "rows": rows}))


def test_paired_difference_and_its_error_by_hand() -> None:
    """Differences 1, 1, 1, 1 and 6 have mean 2 and standard error sqrt(20 / 4 / 5) = 1."""
    one = [(loss, 10) for loss in (2.0, 2.0, 2.0, 2.0, 7.0)]
    other = [(1.0, 10)] * 5
    found = paired_difference(one, other)
    assert found is not None
    assert found[0] == pytest.approx(2.0)
    assert found[1] == pytest.approx(1.0)


def test_rows_weigh_by_their_tokens() -> None:
    """A row of 30 tokens counts three times one of 10."""
    one = [(1.0, 30), (0.0, 10), (0.0, 10), (0.0, 10), (0.0, 10)]
    other = [(0.0, 30), (0.0, 10), (0.0, 10), (0.0, 10), (0.0, 10)]
    found = paired_difference(one, other)
    assert found is not None
    assert found[0] == pytest.approx(30 / 70)


def test_clear_winner_is_used(tmp_path: Path) -> None:
    """Better on every row by the same amount: no noise, so the winner it is."""
    write_rows(tmp_path, 0, [2.0, 2.1, 1.9, 2.0, 2.2])
    write_rows(tmp_path, 1, [1.5, 1.6, 1.4, 1.5, 1.7])
    decision = decide([result(0, 2.04), result(1, 1.54)], tmp_path)
    assert decision is not None
    assert decision.chosen.number == 1
    assert decision.difference == pytest.approx(-0.5)
    assert "using it" in decision.sentence


def test_luckier_trial_does_not_replace_the_default(tmp_path: Path) -> None:
    """A gain on one row that others lose is within the noise."""
    write_rows(tmp_path, 0, [2.0, 2.0, 2.0, 2.0, 2.0])
    write_rows(tmp_path, 1, [1.0, 2.3, 2.2, 2.1, 2.2])
    decision = decide([result(0, 2.0), result(1, 1.96)], tmp_path)
    assert decision is not None
    assert decision.chosen.number == 0
    assert "keeping the default" in decision.sentence


def test_too_few_rows_prove_nothing(tmp_path: Path) -> None:
    """Two held-out rows cannot tell a gain from noise."""
    write_rows(tmp_path, 0, [2.0, 2.0])
    write_rows(tmp_path, 1, [1.0, 1.0])
    decision = decide([result(0, 2.0), result(1, 1.0)], tmp_path)
    assert decision is not None
    assert decision.chosen.number == 0
    assert "too few" in decision.sentence


def test_best_default_is_kept_and_an_unfinished_one_replaced(tmp_path: Path) -> None:
    """Trial 0 wins ties; if it did not finish, the best of the others is taken."""
    best = decide([result(0, 1.0), result(1, 1.2)], tmp_path)
    assert best is not None
    assert best.chosen.number == 0
    other = decide([result(0, 1.9, "stopped"), result(1, 1.2)], tmp_path)
    assert other is not None
    assert other.chosen.number == 1
    assert decide([result(0, None, "failed")], tmp_path) is None
