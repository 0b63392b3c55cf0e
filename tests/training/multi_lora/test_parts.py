"""Products of parts, equal and unequal."""

from __future__ import annotations

import pytest
import torch

from tsplanner.training.multi_lora.parts import Parts

ROWS = torch.arange(12.0).reshape(6, 2)
MATRICES = torch.tensor([[[1.0], [0.0]], [[0.0], [10.0]]])
"""The first picks the first column, the second ten times the second one."""


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(Parts(2), [0, 2, 4, 70, 90, 110]), (Parts(2, (1, 5)), [0, 30, 50, 70, 90, 110])],
)
def test_every_part_meets_its_own_matrix(parts: Parts, expected: list[float]) -> None:
    """Three rows each, or one and five; adding in place gives the same."""
    assert parts.times(ROWS, MATRICES).flatten().tolist() == expected
    for dtype in (torch.float32, torch.float64):
        target = torch.ones(6, 1, dtype=dtype)
        parts.add_times(target, ROWS, MATRICES)
        assert target.flatten().tolist() == [1 + value for value in expected]


def test_an_outer_product_sums_over_its_own_part() -> None:
    """Sums of squares of the first column: 0 + 4 + 16 and 36 + 64 + 100, or 0 and the rest."""
    first = ROWS[:, :1]
    assert Parts(2).outer(first, first).flatten().tolist() == [20, 200]
    assert Parts(2, (1, 5)).outer(first, first).flatten().tolist() == [0, 220]
