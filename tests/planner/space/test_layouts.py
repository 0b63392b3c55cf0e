"""Layouts of a step's rows: micro-batches that divide it, and passes by sensible budgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import changed
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.space.layouts import micro_batch_sizes, packed_layouts, padded_layouts


@pytest.mark.parametrize(
    ("effective", "ranks", "sizes"),
    [
        (16, 1, [1, 2, 4, 8, 16]),
        (16, 2, [1, 2, 4, 8]),
        (12, 2, [1, 2, 3, 6]),
        (7, 1, [1, 7]),
        (16, 3, []),
        (1, 1, [1]),
        (128, 1, [1, 2, 4, 8, 16, 32, 64]),
    ],
)
def test_micro_batches_divide_a_ranks_share(effective: int, ranks: int, sizes: list[int]) -> None:
    """No remainder is trained away, and a micro-batch stops at 64."""
    assert micro_batch_sizes(effective, ranks) == sizes


def uneven(**pins: object) -> PlanRequest:
    """Rows of 100 to 1,000 positions, evenly spread."""
    found = request("qwen2.5-0.5b", HOPPER, length=1000, pins=Pins(**pins))
    dataset = changed(found.dataset, mean=550.0, quantiles=(100, 1000))
    return replace(found, dataset=dataset)


def test_budgets_hold_the_whole_step_then_halves_then_the_longest_row() -> None:
    """16 rows of 550 positions are 8,800 on average, and never more than 16,000."""
    budgets = [layout.token_budget or 0 for layout in packed_layouts(uneven(), 1)]
    assert 8_800 < budgets[0] < 16_000
    assert budgets[1] == pytest.approx(budgets[0] / 2, abs=8)
    assert budgets[-1] == 1000
    assert {layout.gradient_accumulation_steps for layout in packed_layouts(uneven(), 1)} == {16}


def test_rows_of_one_length_are_not_packed() -> None:
    """There is nothing to save; with one row per process there is nothing to lay end to end."""
    assert packed_layouts(request("qwen2.5-0.5b", HOPPER), 1) == []
    assert packed_layouts(uneven(), 16) == []


def test_what_is_pinned_decides() -> None:
    """A budget leaves no micro-batch, none leaves no budget, and so does a micro-batch."""
    assert padded_layouts(uneven(token_budget=2000), 1) == []
    assert [each.token_budget for each in packed_layouts(uneven(token_budget=2000), 1)] == [2000]
    for pins in ({"token_budget": None}, {"micro_batch_size": 4}):
        assert packed_layouts(uneven(**pins), 1) == []
        assert len(padded_layouts(uneven(**pins), 1)) == 5
