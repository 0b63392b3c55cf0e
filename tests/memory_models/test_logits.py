"""The loss over a large vocabulary: logits are the largest transient there is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toy_decoder import TOY, WIDE

from memory_models.loss import (
    fused_loss_bytes,
    fused_rows,
    head_cast_bytes,
    logit_element_bytes,
    loss_backward_bytes,
    loss_forward_bytes,
)
from memory_models.settings import Dtype, LossKernel, Quantization, TrainingSettings

FOUR = TrainingSettings(sequence_length=4)
"""Four tokens: the toy has 4 x 32 = 128 logits."""


@pytest.mark.parametrize(
    ("values", "element", "forward"),
    [
        # logits 2, their fp32 copy 4, log-softmax 4
        ({}, 2, 1280),
        ({"quantization": Quantization.NF4}, 2, 1280),
        ({"model_dtype": Dtype.FP32}, 2, 1280),
        # fp32 logits need no copy: 4 and 4
        ({"model_dtype": Dtype.FP32, "autocast": None}, 4, 1024),
    ],
)
def test_plain_loss_takes_ten_bytes_a_logit_forward(
    values: dict[str, object], element: int, forward: int
) -> None:
    """Eight where the logits are fp32 already."""
    settings = replace(FOUR, **values)  # type: ignore[arg-type]
    assert logit_element_bytes(settings) == element
    assert loss_forward_bytes(TOY, settings) == forward


def test_plain_loss_takes_twelve_bytes_a_logit_backward() -> None:
    """Saved log-softmax, its gradient and the result, fp32 each: 128 x 12."""
    assert loss_backward_bytes(TOY, FOUR) == 1536


def test_a_fused_loss_never_holds_all_logits() -> None:
    """4096 tokens of a 5000-word vocabulary: under a fifth of the plain loss's bytes."""
    plain = TrainingSettings(sequence_length=4096)
    fused = replace(plain, loss_kernel=LossKernel.FUSED)
    assert 5 * fused_loss_bytes(WIDE, fused) < loss_forward_bytes(WIDE, plain)
    assert loss_forward_bytes(WIDE, fused) == fused_loss_bytes(WIDE, fused)


@pytest.mark.parametrize("length", [1, 2, 3, 100, 4096])
def test_a_chunk_is_no_longer_than_the_batch(length: int) -> None:
    """At least a row, at most every row."""
    rows = fused_rows(WIDE, TrainingSettings(sequence_length=length))
    assert 1 <= rows <= length


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, 0),
        ({"quantization": Quantization.NF4}, 512),
        ({"model_dtype": Dtype.FP32}, 512),
        ({"model_dtype": Dtype.FP32, "autocast": None}, 0),
    ],
)
def test_an_fp32_head_is_cast_for_its_product(values: dict[str, object], size: int) -> None:
    """[32, 8] elements at two bytes under autocast; no cast of a half-precision head."""
    assert head_cast_bytes(TOY, replace(FOUR, **values)) == size  # type: ignore[arg-type]
