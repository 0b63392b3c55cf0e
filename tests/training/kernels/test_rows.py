"""Rows of a pass, and which tokens of them see which."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.kernels.rows import LAYOUT, RowLayout, causal  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def layout() -> None:
    """Rows of 5, 1 and 9 tokens."""
    LAYOUT.read(torch.tensor([[*range(5), 0, *range(9)]]))


def test_rows_are_read_off_positions_that_begin_anew() -> None:
    """Rows of 5, 1 and 9 tokens begin at 0, 5 and 6."""
    assert LAYOUT.lengths == [5, 1, 9]
    assert LAYOUT.longest == 9
    assert LAYOUT.bounds is not None
    assert LAYOUT.bounds.tolist() == [0, 5, 6, 15]


def test_the_first_token_that_is_seen_is_the_rows_or_the_windows() -> None:
    """Rows of 5, 1 and 9 tokens; with a window of 3 a token sees itself and two before it."""
    assert LAYOUT.rows.lowest(None).tolist() == [0] * 5 + [5] + [6] * 9
    assert LAYOUT.rows.lowest(3).tolist() == [0, 0, 0, 1, 2, 5, 6, 6, 6, 7, 8, 9, 10, 11, 12]


def test_a_layout_goes_back_to_rows_that_were_taken() -> None:
    """As passes take turns; the rows of one length are one object."""
    found = RowLayout()
    found.one_row(4, CPU)
    taken = found.taken()
    found.read(torch.tensor([[0, 1, 0]]))
    assert found.lengths == [2, 1]
    found.put(taken)
    assert (found.lengths, found.longest) == ([4], 4)
    found.one_row(4, CPU)
    assert found.rows is taken


def test_a_token_sees_those_before_it_and_itself() -> None:
    """Of four tokens, and of two with a window."""
    assert causal(4, None, CPU).sum(1).tolist() == [1, 2, 3, 4]
    assert causal(4, 2, CPU).sum(1).tolist() == [1, 2, 2, 2]
