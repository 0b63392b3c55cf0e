"""Two runs compared on the same held-out rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsplanner.tune.search.paired_eval import mean_loss, paired_difference, read_eval_checkpoints


def test_paired_difference_and_its_error_by_hand() -> None:
    """Differences 1, 1, 1, 1 and 6 have mean 2 and standard error sqrt(20 / 4 / 5) = 1."""
    one = [(loss, 10) for loss in (2.0, 2.0, 2.0, 2.0, 7.0)]
    other = [(1.0, 10)] * 5
    found = paired_difference(one, other)
    assert found is not None
    assert found[0] == pytest.approx(2.0)
    assert found[1] == pytest.approx(1.0)


def test_examples_weigh_by_their_tokens() -> None:
    """A row of 30 tokens counts three times one of 10."""
    one = [(1.0, 30), (0.0, 10), (0.0, 10), (0.0, 10), (0.0, 10)]
    other = [(0.0, 30), (0.0, 10), (0.0, 10), (0.0, 10), (0.0, 10)]
    found = paired_difference(one, other)
    assert found is not None
    assert found[0] == pytest.approx(30 / 70)


def test_too_few_or_other_examples_are_not_compared() -> None:
    """Four rows, or rows of other lengths."""
    assert paired_difference([(1.0, 10)] * 4, [(2.0, 10)] * 4) is None
    assert paired_difference([(1.0, 10)] * 5, [(2.0, 11)] * 5) is None


def test_loss_that_is_no_number_is_infinite() -> None:
    """One bad row makes the set's loss the worst there is."""
    assert mean_loss([(float("nan"), 3), (1.0, 3)]) == float("inf")
    assert mean_loss([(2.0, 1), (1.0, 3)]) == 1.25


def test_evaluations_are_read_up_to_a_torn_line(tmp_path: Path) -> None:
    """A trial killed while it wrote leaves what was whole."""
    whole = json.dumps({"step": 5, "epoch": 1.0, "rows": [[2.0, 3]]})
    (tmp_path / "eval_rows.jsonl").write_text(whole + "\n" + whole[:20])
    assert read_eval_checkpoints(tmp_path) == {5: (1.0, [(2.0, 3)])}
    assert read_eval_checkpoints(tmp_path / "none") == {}
