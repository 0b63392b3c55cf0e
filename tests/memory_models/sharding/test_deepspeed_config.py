"""Sizes in DeepSpeed's configuration."""

from __future__ import annotations

from memory_models.estimate import estimate_memory
from memory_models.settings import (
    DeepSpeedConfig,
    FinetuningType,
    Quantization,
    Sharding,
    TrainingSettings,
    changed,
    from_flat,
)
from memory_models.sharding.all_gather import gathered_peaks, more_gathered_bytes
from memory_models.sharding.deepspeed_config import (
    buckets,
    limits,
    live_elements,
    persistent_elements,
    prefetch_elements,
    reduce_bucket_elements,
    sub_group_elements,
)
from memory_models.sharding.held_gradients import gradients
from memory_models.sharding.partition import partition_of
from tests.support.toy_decoder import WIDE

BLOCK = 256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 512
"""Elements of one block's matrices: 589,824; two norms of 256 more stay whole."""
BILLION = 1_000_000_000
DEFAULTS = DeepSpeedConfig(
    reduce_bucket_size=500_000_000,
    stage3_prefetch_bucket_size=50_000_000,
    stage3_param_persistence_threshold=100_000,
    stage3_max_live_parameters=BILLION,
    stage3_max_reuse_distance=BILLION,
    sub_group_size=BILLION,
)
"""DeepSpeed's own."""
AUTO = changed(
    DEFAULTS,
    reduce_bucket_size=None,
    stage3_prefetch_bucket_size=None,
    stage3_param_persistence_threshold=None,
)


def test_two_blocks_are_the_limit() -> None:
    """Norms included: 2 x 590,336 elements."""
    assert live_elements(WIDE) == 2 * (BLOCK + 512)
    assert limits(WIDE).live == limits(WIDE).reuse == 2 * (BLOCK + 512)


def test_a_packed_byte_is_an_element_to_deepspeed() -> None:
    """Two blocks of half as many, norms beside them; int8 has a byte per weight."""
    assert live_elements(WIDE, Quantization.NF4) == 2 * (BLOCK // 2 + 512)
    assert live_elements(WIDE, Quantization.INT8) == live_elements(WIDE)
    assert limits(WIDE, None, Quantization.NF4).live == 2 * (BLOCK // 2 + 512)


def test_auto_is_what_transformers_fills_in() -> None:
    """256 wide: 65,536, nine tenths of that, and 2,560."""
    for config in (None, AUTO):
        assert reduce_bucket_elements(WIDE, config) == 65_536
        assert prefetch_elements(WIDE, config) == 58_982
        assert persistent_elements(WIDE, config) == 2_560
    assert sub_group_elements() == 100_000_000


def test_a_users_own_sizes_come_before_ours() -> None:
    """DeepSpeed's defaults, as most tutorials have them."""
    assert limits(WIDE, DEFAULTS) == (BILLION, BILLION, 50_000_000, 100_000)
    assert sub_group_elements(DEFAULTS) == BILLION
    sharding = Sharding(zero_stage=2, deepspeed=changed(DEFAULTS, overlap_comm=True))
    assert buckets(WIDE, sharding) == (500_000_000, BILLION)
    assert buckets(WIDE, changed(sharding, zero_stage=3)) == (500_000_000, 500_000_000)
    assert buckets(WIDE, Sharding(zero_stage=2)) == (65_536, 65_536)


def settings(stage: int, config: DeepSpeedConfig | None) -> TrainingSettings:
    """Full fine-tuning on two processes."""
    return from_flat(
        TrainingSettings,
        finetuning_type=FinetuningType.FULL,
        zero_stage=stage,
        world_size=2,
        deepspeed=config,
        sequence_length=64,
    )


def test_a_billion_live_parameters_gather_a_small_model_whole() -> None:
    """The peak holds what two layers do not: here all of both layers and the rest of the model."""
    many = changed(WIDE, num_hidden_layers=10)
    own, wide = (settings(3, config) for config in (None, AUTO))
    usual = max(gathered_peaks(many, own.layer))
    large = max(gathered_peaks(many, wide.layer, AUTO))
    assert usual < 2 * 5 * BLOCK
    assert large > 2 * 10 * BLOCK
    assert more_gathered_bytes(many, wide) == large - usual
    assert more_gathered_bytes(many, own) == 0


def test_the_step_takes_six_bytes_an_element_of_a_sub_group() -> None:
    """Groups of half a million elements and one tensor at most (640,000), or all at once."""
    small = changed(AUTO, sub_group_size=500_000)
    many = changed(WIDE, num_hidden_layers=10)
    shares = partition_of(many, settings(3, small).states).shares
    whole = partition_of(many, settings(3, AUTO).states).shares
    assert len(shares) > 4
    assert len(whole) == 2
    assert sum(shares) == sum(whole)
    assert max(shares) < 500_000 + 640_000 < max(whole)
    assert gradients(many, settings(3, AUTO).states).step == 6 * max(whole)
    assert gradients(many, settings(3, small).states).step < 6 * (500_000 + 640_000)


def test_a_bucket_of_half_a_billion_takes_a_gigabyte() -> None:
    """Whatever the model's size, at two bytes an element; overlapping communication takes two."""
    usual = estimate_memory(WIDE, settings(2, None)).peak_allocated_bytes.expected
    wide = estimate_memory(WIDE, settings(2, DEFAULTS)).peak_allocated_bytes.expected
    two = settings(2, changed(DEFAULTS, overlap_comm=True))
    assert 0.99e9 < wide - usual < 1.01e9
    double = estimate_memory(WIDE, two).peak_allocated_bytes.expected
    assert 0.99e9 < double - wide < 1.01e9
    replayed = estimate_memory(WIDE, two, replay=True).peak_reserved_bytes.expected
    assert replayed > 2e9
