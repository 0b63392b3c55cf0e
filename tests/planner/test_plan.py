"""What a plan and its dataset say of themselves."""

from __future__ import annotations

import pytest

from memory_models.settings import BatchLayout, changed
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.plan import no_dataset
from tsplanner.planner.rank import choose


def test_a_plan_knows_the_length_it_was_sized_for() -> None:
    """One sample at a time: the longest; several: the longest batch that can occur."""
    asked = request("qwen2.5-0.5b", HOPPER)
    dataset = changed(asked.dataset, longest=100, longest_batch=120)
    assert [dataset.sequence_length(size) for size in (1, 2, 8)] == [100, 120, 120]
    assert changed(dataset, longest_batch=None).sequence_length(8) == 100


def test_the_longest_pass_fills_its_budget_or_holds_the_longest_row() -> None:
    """Three rows of at most 100 positions cannot fill 1,000; a row of 100 does not fit in 64."""
    dataset = no_dataset(100)
    for budget, longest in ((1000, 304), (64, 104), (200, 200)):
        layout = BatchLayout(gradient_accumulation_steps=3, token_budget=budget)
        assert dataset.longest_of(layout) == longest
    assert dataset.longest_of(BatchLayout(micro_batch_size=2)) == 100


@pytest.mark.parametrize(
    ("most", "length", "patches"), [(None, 100, 25), (30, 100, 30), (30, 20, 20)]
)
def test_patches_are_those_of_the_rows_or_one_position_in_four(
    most: int | None, length: int, patches: int
) -> None:
    """No sample has more patches than positions."""
    assert changed(no_dataset(100), most_patches=most).series_patches(length) == patches


def test_without_a_dataset_every_sample_is_as_long_as_the_cutoff() -> None:
    """No rows are counted, and the plan says where the length comes from."""
    found = no_dataset(512)
    assert (found.path, found.lengths.rows_kept, found.lengths.counted_by) == (
        None,
        0,
        "cutoff_len",
    )
    assert found.sequence_length(1) == found.sequence_length(8) == 512


def test_a_plan_gives_its_shapes_and_the_length_that_memory_was_sized_for() -> None:
    """Later steps read both from the plan alone."""
    asked = request("qwen2.5-0.5b", HOPPER, length=300)
    plan = choose(asked).plan
    assert plan.architecture == asked.architecture
    assert plan.sequence_length == 300
