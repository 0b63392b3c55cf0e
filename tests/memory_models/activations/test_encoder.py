"""What the time-series encoder keeps for backward."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.activations.encoder import encoder_bytes, trains_encoder
from memory_models.estimate import estimate_memory
from memory_models.settings import (
    DecoderKernels,
    FinetuningType,
    TrainingSettings,
    changed,
    from_flat,
)
from tests.support.toy_decoder import TOY, WITH_ENCODER

LEAN = from_flat(
    TrainingSettings,
    lora_rank=2,
    sequence_length=60,
    series_patches=50,
    micro_batch_size=20,
    decoder_kernels=DecoderKernels.FUSED,
)


def test_a_lean_encoder_keeps_inputs_thin_products_and_casts() -> None:
    """1,000 patches: features 8 kB, two thin products 4 kB, around GELU 16 kB twice, 4 casts."""
    assert encoder_bytes(WITH_ENCODER, LEAN) == 8192 + 2 * 4096 + 2 * 16384 + 4 * 512


def test_text_models_and_frozen_encoders_keep_nothing() -> None:
    """Without patches, without an encoder, or where no gradient reaches it."""
    assert encoder_bytes(WITH_ENCODER, replace(LEAN, series_patches=0)) == 0
    assert encoder_bytes(TOY, LEAN) == 0
    frozen = changed(LEAN, finetuning_type=FinetuningType.FREEZE)
    assert encoder_bytes(WITH_ENCODER, frozen) == 0
    assert not trains_encoder(WITH_ENCODER, frozen.method)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_more_patches_never_take_less_memory(checkpointing: bool) -> None:
    """At the same length: the encoder's part comes on top, checkpointed blocks or not."""
    peaks = [
        estimate_memory(
            WITH_ENCODER,
            changed(LEAN, series_patches=patches, gradient_checkpointing=checkpointing),
        ).peak_allocated_bytes.expected
        for patches in (0, 1, 25, 50)
    ]
    assert peaks == sorted(peaks)
    assert peaks[0] < peaks[-1]


def test_more_patches_than_positions_are_refused() -> None:
    """A sample is at least as long as its patches."""
    with pytest.raises(ValueError, match="series_patches must be from 0 to sequence_length 60"):
        replace(LEAN, series_patches=61)
