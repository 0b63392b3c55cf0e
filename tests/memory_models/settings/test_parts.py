"""The parts of a configuration: candidates that differ in their batches alone share them."""

from __future__ import annotations

import pytest

from memory_models.settings import (
    DecoderKernels,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)

SEVERAL = from_flat(
    TrainingSettings,
    sequence_length=10,
    micro_batch_size=2,
    gradient_accumulation_steps=8,
    zero_stage=2,
    world_size=4,
)


def test_another_micro_batch_and_another_length_have_the_same_parts() -> None:
    """Not equal ones: what was found for one is found again without a comparison."""
    larger = changed(SEVERAL, micro_batch_size=4, gradient_accumulation_steps=4, sequence_length=20)
    assert larger.tokens == 4 * SEVERAL.tokens
    assert larger.layer is SEVERAL.layer
    assert larger.head is SEVERAL.head
    assert larger.states is SEVERAL.states


@pytest.mark.parametrize(
    "values",
    [
        {"gradient_accumulation_steps": 1},
        {"gradient_checkpointing": False},
        {"loss_kernel": LossKernel.FUSED},
        {"decoder_kernels": DecoderKernels.FUSED},
        {"world_size": 2},
        {"lora_rank": 16},
        {"quantization": Quantization.NF4},
    ],
)
def test_what_bytes_depend_on_makes_other_parts(values: dict[str, object]) -> None:
    """One micro-batch adds to no gradient; everything else is in a record of the parts."""
    assert changed(SEVERAL, **values).states != SEVERAL.states


def test_passes_that_go_through_a_layer_together_add_to_no_gradient() -> None:
    """A layer then has all of its gradients before the layer below has any."""
    streamed = from_flat(
        TrainingSettings, gradient_accumulation_steps=8, streamed_layers=4, sequence_length=10
    )
    assert not streamed.states.accumulates
    assert changed(streamed, passes_together=4).states.accumulates
    assert streamed.layer.accumulates
