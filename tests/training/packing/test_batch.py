"""Rows laid end to end."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.batches import EncodedSample  # noqa: E402
from tsplanner.training.packing.batch import PASSES, laid_end_to_end, step_of_passes  # noqa: E402

ROWS = [
    EncodedSample(input_ids=[1, 2, 3], labels=[-100, 2, 3]),
    EncodedSample(input_ids=[4, 5], labels=[4, 5], series=((0.5,),)),
]


def test_positions_begin_anew_with_every_row_and_first_tokens_have_no_label() -> None:
    """Five tokens and three of padding, which is a row of its own."""
    found = laid_end_to_end(ROWS, pad_id=0)
    assert found["input_ids"].tolist() == [[1, 2, 3, 4, 5, 0, 0, 0]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    assert found["labels"].tolist() == [[-100, 2, 3, -100, 5, -100, -100, -100]]
    assert found["timeseries"].tolist() == [[[0.5], [1.0]]]


def test_a_step_is_cut_into_passes_and_counts_its_labels_whole() -> None:
    """A budget of four takes one row a pass; three labels count."""
    step = step_of_passes(ROWS, [3, 2], budget=4, pad_id=0)
    assert [each["input_ids"].shape[1] for each in step[PASSES]] == [8, 8]
    assert int((step["labels"] != -100).sum()) == 3
