"""The valley of the held-out loss, and what observations say of where it lies."""

from __future__ import annotations

import pytest

from tsplanner.tune.search.acquisition import (
    SWEEP,
)
from tsplanner.tune.search.surrogate import Point, Surrogate, valley


def test_valley_is_lowest_at_its_rate_and_leans() -> None:
    """Nothing at the best rate, one unit a decade below it, three of them a decade above."""
    assert valley(0.0, 3.0) == 0.0
    assert valley(-1.0, 3.0) == pytest.approx(1.0)
    assert valley(1.0, 3.0) == pytest.approx(3.0)


def test_smaller_rank_costs_what_the_sweep_says() -> None:
    """Before any trial half the rank is expected to be worse, and two halvings worse still."""
    points = [Point(log10_lr_offset=0.0, log2_rank_offset=-float(halved)) for halved in range(3)]
    risks = Surrogate(SWEEP).risks(points)
    assert risks[0] < risks[1] < risks[2]
