"""The kernel that CUDA would take for attention, and what the kernel makes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tsplanner.tracing.fake_cuda.attention import Kernel, attention, chosen_kernel, cuda_attention


def heads(count: int, size: int = 8, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """[B, H, S, A] of one row of 5 positions."""
    return torch.zeros(1, count, 5, size, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(
    ("query", "key", "masked", "kernel"),
    [
        (heads(4), heads(2), False, Kernel.FLASH),
        (heads(4), heads(4), True, Kernel.EFFICIENT),
        (heads(4), heads(2), True, Kernel.MATH),
        (heads(4, dtype=torch.float32), heads(4, dtype=torch.float32), False, Kernel.EFFICIENT),
        (heads(4, 264), heads(4, 264), False, Kernel.EFFICIENT),
        (heads(4, 264), heads(2, 264), False, Kernel.MATH),
    ],
)
def test_a_kernel_is_chosen_as_cuda_chooses(
    query: torch.Tensor, key: torch.Tensor, masked: bool, kernel: Kernel
) -> None:
    """Flash knows no mask, no fp32 and no head over 256; memory-efficient no grouped heads."""
    mask = torch.zeros(5, 5) if masked else None
    assert chosen_kernel(query, key, mask) is kernel


def test_heads_that_differ_without_leave_are_broadcast_by_the_products() -> None:
    """Falcon's single key head: no fused kernel takes it, and every head's scores are kept."""
    query, key = heads(4), heads(1)
    assert chosen_kernel(query, key, None, grouped=False) is Kernel.MATH
    out = attention(query, key, heads(1), is_causal=True)
    assert (out.shape, out.dtype) == (query.shape, query.dtype)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda item: kept.append(item) or item, id):
        attention(query, key, heads(1), is_causal=True)
    # The softmax's result and the same scores as a factor of the product with the values.
    assert [item.numel() for item in kept].count(4 * 5 * 5) == 2


def test_products_that_stand_in_for_a_kernel_keep_fp32_scores_under_autocast() -> None:
    """Measured on an H200: Falcon's scores are kept in fp32 (4 bytes), not in bf16."""
    kept: list[torch.Tensor] = []
    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(lambda item: kept.append(item) or item, id),
    ):
        attention(heads(4), heads(1), heads(1), is_causal=True)
    scores = [item.dtype for item in kept if item.numel() == 4 * 5 * 5]
    assert scores == [torch.float32, torch.float32]


def test_an_output_of_another_width_is_laid_out_as_the_queries_are() -> None:
    """Queries stored as [B, H, S, A] give such an output, which a model copies to join heads."""
    values = heads(4, 4)
    assert attention(heads(4, 6), heads(4, 6), values).is_contiguous()
    stored = torch.zeros(1, 5, 4, 6, dtype=torch.bfloat16).transpose(1, 2).requires_grad_()
    out = attention(stored, stored, values)
    assert out.shape == (1, 4, 5, 4)
    assert out.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize(("key_heads", "masked"), [(2, False), (4, True), (2, True)])
def test_every_kernel_gives_an_output_and_gradients_of_the_right_shapes(
    key_heads: int, masked: bool
) -> None:
    """One per head and position, in the queries' dtype."""
    query, key, value = heads(4), heads(key_heads), heads(key_heads)
    mask = torch.ones(5, 5, dtype=torch.bool) if masked else None
    out = attention(query, key, value, mask, is_causal=not masked, scale=0.5, enable_gqa=True)
    assert (out.shape, out.dtype) == (query.shape, query.dtype)
    out.sum().backward()
    for item in (query, key, value):
        assert item.grad is not None
        assert item.grad.shape == item.shape


def test_models_call_the_stand_in_inside_the_context_alone() -> None:
    """Also where an error ends it."""
    original = functional.scaled_dot_product_attention
    seen = []

    def fail() -> None:
        with cuda_attention():
            seen.append(functional.scaled_dot_product_attention)
            raise ValueError("end")

    with pytest.raises(ValueError, match="end"):
        fail()
    assert seen == [attention]
    assert functional.scaled_dot_product_attention is original
