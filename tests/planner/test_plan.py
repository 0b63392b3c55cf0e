"""What a plan and its dataset say of themselves."""

from __future__ import annotations

from memory_models.settings import changed
from tests.support.toy_request import HOPPER, request


def test_a_plan_knows_the_length_it_was_sized_for() -> None:
    """One sample at a time: the longest; several: the longest batch that can occur."""
    asked = request("qwen2.5-0.5b", HOPPER)
    dataset = changed(asked.dataset, longest=100, longest_batch=120)
    assert [dataset.sequence_length(size) for size in (1, 2, 8)] == [100, 120, 120]
    assert changed(dataset, longest_batch=None).sequence_length(8) == 100
