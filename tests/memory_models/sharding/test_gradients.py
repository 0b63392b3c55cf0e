"""Gradients that stay with their parameters: one process alone, or DDP.

LoRA of rank 2 on the toy: 14 matrices per layer, each in a block of 512 bytes.
"""

from __future__ import annotations

from typing import Any

from memory_models.settings import (
    FinetuningType,
    Optimizer,
    TrainingSettings,
    changed,
    from_flat,
)
from memory_models.sharding.gradients import (
    Gradients,
    LayerGradients,
    head_gradient_bytes,
    trained_layers,
    unsharded_gradients,
)
from tests.support.toy_decoder import TIED, TOY

LORA = from_flat(TrainingSettings, lora_rank=2)
FULL = changed(LORA, finetuning_type=FinetuningType.FULL)
ONE_LAYER = 14 * 512


def held(settings: TrainingSettings = LORA, **changes: Any) -> Gradients:
    """Gradients of the toy in time."""
    return unsharded_gradients(TOY, changed(settings, **changes).states)


def test_gradients_of_a_first_micro_batch_come_layer_by_layer() -> None:
    """Nothing in forward and loss; the program of the first layer counts its own."""
    found = held()
    assert (found.early, found.loss, found.last) == (0, 0, 0)
    assert found.first == ONE_LAYER
    assert (found.end, found.kept) == (2 * ONE_LAYER, 2 * ONE_LAYER)
    assert [found.after(layers) for layers in (0, 1, 2, 9)] == [
        0,
        ONE_LAYER,
        2 * ONE_LAYER,
        2 * ONE_LAYER,
    ]


def test_accumulated_gradients_are_there_from_the_start() -> None:
    """The first micro-batch left all of them, so layers add nothing."""
    found = held(gradient_accumulation_steps=2)
    assert (found.early, found.loss, found.last, found.first) == (2 * ONE_LAYER,) * 4
    assert found.each is None
    assert found.after(1) == 2 * ONE_LAYER


def test_adaloras_regularizer_gives_every_adapter_a_gradient_before_backward() -> None:
    """Three tensors per linear in blocks of 512 bytes, with the singular values."""
    found = held(finetuning_type=FinetuningType.ADALORA)
    assert found.early == 0
    assert found.loss == found.last == 2 * 21 * 512


def test_a_trained_heads_gradient_waits_during_backward() -> None:
    """256 elements in bf16; adapters leave the head frozen."""
    assert head_gradient_bytes(TOY, FULL.states) == 512
    assert head_gradient_bytes(TOY, LORA.states) == 0
    assert held(FULL).last == 512


def test_a_tied_embedding_sums_two_gradients() -> None:
    """The head's waiting gradient and a third tensor for the sum, 512 bytes each.

    With accumulation, the sum of earlier micro-batches is one more.
    """
    once = unsharded_gradients(TIED, FULL.states)
    assert once.end - once.kept == 2 * 512
    twice = unsharded_gradients(TIED, changed(FULL, gradient_accumulation_steps=2).states)
    assert twice.end - twice.kept == 3 * 512


def test_the_optimizers_temporaries_belong_to_the_step() -> None:
    """Foreach AdamW takes a square root of all 512 fp32 second moments at once."""
    assert held(optimizer=Optimizer.ADAMW_TORCH).step == 4 * 512
    assert held().step == 0


def test_freeze_trains_the_last_layers_alone() -> None:
    """Every other method trains parameters of all layers."""
    freeze = changed(LORA, finetuning_type=FinetuningType.FREEZE, freeze_trainable_layers=1)
    assert trained_layers(TOY, freeze.states) == 1
    assert trained_layers(TOY, LORA.states) == trained_layers(TOY, FULL.states) == 2


def test_gradients_that_no_layer_keeps_are_the_larger_of_both_ends() -> None:
    """Under ZeRO-2 a gradient leaves its layer at once."""
    ends = Gradients(early=0, loss=0, last=7, first=9, end=0, kept=0, step=0)
    assert ends.after(1) == 9
    assert ends._replace(each=LayerGradients(bytes=2, layers=3)).after(5) == 7 + 3 * 2
