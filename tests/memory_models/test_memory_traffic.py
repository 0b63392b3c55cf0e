"""What a step writes, read off the tapes."""

from __future__ import annotations

import pytest

from memory_models.memory_traffic import traffic
from memory_models.settings import FinetuningType, LossKernel, TrainingSettings, changed, from_flat
from tests.support.toy_decoder import TOY

PLAIN = from_flat(TrainingSettings, sequence_length=64, gradient_checkpointing=False)


def test_twice_the_rows_write_twice_the_bytes_with_as_many_kernels() -> None:
    """Launches do not grow with the batch: so small batches waste them."""
    one, two = (traffic(TOY, changed(PLAIN, micro_batch_size=rows)) for rows in (1, 2))
    assert two.tensors == one.tensors
    assert two.bytes == pytest.approx(2 * one.bytes, rel=0.2)


@pytest.mark.parametrize(
    "more",
    [
        {"gradient_checkpointing": True},
        {"lora_dropout": 0.1},
        {"finetuning_type": FinetuningType.DORA},
    ],
)
def test_more_work_makes_more_tensors(more: dict[str, object]) -> None:
    """Recomputation, dropout and DoRA's norms are kernels more."""
    assert traffic(TOY, changed(PLAIN, **more)).tensors > traffic(TOY, PLAIN).tensors  # type: ignore[arg-type]


def test_frozen_blocks_below_are_passed_once() -> None:
    """The freeze method has no backward below its first trained block."""
    one = changed(PLAIN, finetuning_type=FinetuningType.FREEZE, freeze_trainable_layers=1)
    assert traffic(TOY, one).bytes < traffic(TOY, changed(one, freeze_trainable_layers=2)).bytes


def test_fused_loss_launches_by_the_chunk() -> None:
    """Its logits never exist whole, but are written all the same."""
    fused = traffic(TOY, changed(PLAIN, loss_kernel=LossKernel.FUSED))
    assert fused.tensors >= traffic(TOY, PLAIN).tensors


def test_compiled_kernels_leave_the_plain_loss_as_it_is() -> None:
    """Half of what the layers write remains of them, and all of what head and loss write."""
    plain, fused = (
        traffic(TOY, changed(PLAIN, loss_kernel=kernel))
        for kernel in (LossKernel.PLAIN, LossKernel.FUSED)
    )
    assert 0 < plain.plain_bytes < plain.bytes
    layers = plain.bytes - plain.plain_bytes, plain.tensors - plain.plain_tensors
    assert plain.shared(0.5, 2.0) == (
        plain.plain_bytes + layers[0] / 2,
        plain.plain_tensors + 2 * layers[1],
    )
    # The fused loss is one of the kernels.
    assert fused.shared(0.5, 2.0) == (fused.bytes / 2, 2 * fused.tensors)
