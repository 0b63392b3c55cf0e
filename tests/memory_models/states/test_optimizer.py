"""Gradients and optimizer states."""

from __future__ import annotations

import pytest

from memory_models.architecture import Architecture
from memory_models.settings import (
    Dtype,
    FinetuningType,
    Optimizer,
    TrainingSettings,
    changed,
    from_flat,
)
from memory_models.states.adapters import trainable_parameters
from memory_models.states.optimizer import (
    STATE_BYTES,
    Tensor,
    gradient_bytes,
    optimizer_state_bytes,
    paged_state_bytes,
    trained_tensors,
)
from tests.support.toy_decoder import ALL, TOY

FULL = from_flat(TrainingSettings, finetuning_type=FinetuningType.FULL)


@pytest.mark.parametrize(
    ("optimizer", "tensor", "size"),
    [
        # two moments in the parameter's own dtype
        (Optimizer.ADAMW_TORCH, Tensor(rows=64, columns=64), 32_768),
        (Optimizer.ADAMW_TORCH_FUSED, Tensor(rows=64, columns=64), 32_768),
        # 4096 elements: two bytes each, and two fp32 scales for each of 16 blocks of 256
        (Optimizer.ADAMW_BNB_8BIT, Tensor(rows=64, columns=64), 8192 + 128),
        # one element fewer stays in fp32: 8 x 4095
        (Optimizer.ADAMW_BNB_8BIT, Tensor(rows=1, columns=4095), 32_760),
        # 4097 elements need a 17th block
        (Optimizer.ADAMW_BNB_8BIT, Tensor(rows=1, columns=4097), 8194 + 136),
        # 100,000 elements are paged: only 391 blocks' scales stay on the device
        (Optimizer.PAGED_ADAMW_8BIT, Tensor(rows=1000, columns=100), 3128),
        (Optimizer.PAGED_ADAMW_8BIT, Tensor(rows=64, columns=64), 8192 + 128),
        (Optimizer.PAGED_ADAMW_32BIT, Tensor(rows=1000, columns=100), 0),
        (Optimizer.PAGED_ADAMW_32BIT, Tensor(rows=64, columns=64), 32_768),
        # row and column sums of a matrix, one moment of a vector
        (Optimizer.ADAFACTOR, Tensor(rows=64, columns=32), 4 * (64 + 32)),
        (Optimizer.ADAFACTOR, Tensor(rows=1, columns=100), 400),
        (Optimizer.SGD, Tensor(rows=64, columns=64), 0),
    ],
)
def test_states_of_one_tensor(optimizer: Optimizer, tensor: Tensor, size: int) -> None:
    """Device bytes of an fp32 tensor's states after the first step."""
    paged = optimizer.value.startswith("paged")
    assert STATE_BYTES[optimizer](tensor, 4, paged=paged) == size


def test_every_optimizer_has_its_states() -> None:
    """A new optimizer is one row."""
    assert set(STATE_BYTES) == set(Optimizer)


@pytest.mark.parametrize(
    ("dtype", "gradients", "states"), [(Dtype.BF16, 9728, 19_456), (Dtype.FP32, 10_752, 21_504)]
)
def test_a_fully_trained_model_keeps_everything_in_its_own_dtype(
    dtype: Dtype, gradients: int, states: int
) -> None:
    """A gradient and two moments of every tensor, each in blocks of 512 bytes.

    Two layers of 7 matrices and the norms, 512 each: 8192; final norm 512; embedding and head, 256
    elements each: 512 in half precision, 1024 in fp32.
    """
    settings = from_flat(TrainingSettings, finetuning_type=FinetuningType.FULL, model_dtype=dtype)
    assert gradient_bytes(TOY, settings.states) == gradients
    assert optimizer_state_bytes(TOY, settings.states) == states


@pytest.mark.parametrize("dtype", Dtype)
def test_adapters_are_trained_in_fp32_whatever_the_base(dtype: Dtype) -> None:
    """At r = 2, 28 matrices of at most 32 elements: a block of 512 bytes each, states two."""
    settings = from_flat(TrainingSettings, lora_rank=2, model_dtype=dtype)
    assert gradient_bytes(TOY, settings.states) == 28 * 512
    assert optimizer_state_bytes(TOY, settings.states) == 28 * 1024


def test_paged_states_are_counted_outside_the_allocator() -> None:
    """15,000 x 8 = 120,000 elements: a head's two bytes, an embedding's eight, managed memory."""
    wide = from_flat(
        TrainingSettings, finetuning_type=FinetuningType.FULL, optimizer=Optimizer.PAGED_ADAMW_8BIT
    )
    assert paged_state_bytes(TOY, wide.states) == 0
    assert paged_state_bytes(_with_vocabulary(15_000), wide.states) == (2 + 8) * 120_000
    assert paged_state_bytes(_with_vocabulary(15_000), FULL.states) == 0


def _with_vocabulary(words: int) -> Architecture:
    return changed(TOY, vocab_size=words)


@pytest.mark.parametrize("architecture", ALL, ids=lambda found: found.name)
@pytest.mark.parametrize("method", FinetuningType)
def test_trained_tensors_add_up_to_the_trained_parameters(
    architecture: Architecture, method: FinetuningType
) -> None:
    """The list that states are counted from misses nothing and has nothing twice."""
    settings = from_flat(TrainingSettings, finetuning_type=method, lora_rank=2)
    tensors = trained_tensors(architecture, settings.method)
    total = sum(tensor.copies * tensor.elements for tensor in tensors)
    assert total == trainable_parameters(architecture, settings.method)
