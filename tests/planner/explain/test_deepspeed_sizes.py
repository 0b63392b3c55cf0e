"""The DeepSpeed configuration that a plan assumes."""

from __future__ import annotations

from memory_models.settings import DeepSpeedConfig, Sharding
from tests.support.toy_decoder import WIDE
from tsplanner.planner.explain.deepspeed_sizes import deepspeed_notes, deepspeed_sizes

OWN = DeepSpeedConfig(
    stage3_max_live_parameters=10**9,
    stage3_max_reuse_distance=10**9,
    sub_group_size=10**9,
    overlap_comm=True,
    warnings=("a key is not sized",),
)


def test_a_plan_without_zero_assumes_nothing() -> None:
    """Nor does it print a line."""
    assert deepspeed_sizes(WIDE, Sharding(world_size=2)) == {}
    assert list(deepspeed_notes(WIDE, Sharding())) == []


def test_zero_2_is_one_bucket() -> None:
    """256 x 256 elements, and the file that has it."""
    (line,) = deepspeed_notes(WIDE, Sharding(zero_stage=2))
    assert line == (
        "DeepSpeed (tsplanner export deepspeed writes it): reduce_bucket_size 65,536 · "
        "overlap_comm off"
    )


def test_zero_3_states_every_size_that_memory_was_counted_by() -> None:
    """Two layers of 590,336 elements, a hundred million a step, 0.9 and 10 times as filled in."""
    assert deepspeed_sizes(WIDE, Sharding(zero_stage=3)) == {
        "reduce_bucket_size": 65_536,
        "overlap_comm": False,
        "sub_group_size": 100_000_000,
        "stage3_max_live_parameters": 1_180_672,
        "stage3_max_reuse_distance": 1_180_672,
        "stage3_prefetch_bucket_size": 58_982,
        "stage3_param_persistence_threshold": 2_560,
    }


def test_a_file_of_ones_own_is_stated_with_its_warnings() -> None:
    """A line for each."""
    sizes, warning = deepspeed_notes(WIDE, Sharding(zero_stage=3, deepspeed=OWN))
    assert "(your own file)" in sizes
    assert "sub_group_size 1,000,000,000" in sizes
    assert "overlap_comm on" in sizes
    assert warning == "DeepSpeed: a key is not sized"
