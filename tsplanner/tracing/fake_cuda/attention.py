"""Scaled dot-product attention as CUDA allocates it.

PyTorch chooses a kernel by the device, and the CPU's kernels keep other tensors for backward. This
stand-in makes the choice that CUDA makes, and allocates the tensors that the chosen kernel makes.

Notation: B rows, S queries, K keys, H query heads, G key/value heads, A head size.
Source: aten/src/ATen/native/transformers/cuda/{sdp_utils.cpp, attention.cu, attention_backward.cu}.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tsplanner.training.kernels.flex import with_sinks

LARGEST_FLASH_HEAD = 256
FLASH_ROWS = 128
"""Rows of the backward's accumulators are rounded up to this."""
EFFICIENT_ROWS = 32


class Kernel(StrEnum):
    """The kernels that CUDA has for attention."""

    FLASH = "flash"
    EFFICIENT = "efficient"
    MATH = "math"


def chosen_kernel(
    query: Tensor, key: Tensor, mask: Tensor | None, *, grouped: bool = True
) -> Kernel:
    """The kernel that CUDA chooses; ``grouped``: the caller allows fewer heads of keys.

    Flash takes no mask, and the memory-efficient kernel takes no grouped heads. Where heads differ
    and the caller did not allow it (Falcon's single key head), no fused kernel takes the inputs:
    the products broadcast them.
    Source: sdp_utils_cpp.h (check_batch_size_and_num_heads_dense).
    """
    same_heads = query.shape[1] == key.shape[1]
    narrow = query.dtype in (torch.float16, torch.bfloat16)
    if (
        narrow
        and mask is None
        and query.shape[-1] <= LARGEST_FLASH_HEAD
        and (same_heads or grouped)
    ):
        return Kernel.FLASH
    return Kernel.EFFICIENT if same_heads else Kernel.MATH


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    enable_gqa: bool = False,
    **_: Any,
) -> Tensor:
    """Stand in for ``torch.nn.functional.scaled_dot_product_attention``.

    torch takes ``scale`` and ``enable_gqa`` by name alone; ``scale`` changes nothing here.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = (item.to(dtype) for item in (query, key, value))
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.to(dtype)
    kernel = chosen_kernel(query, key, attn_mask, grouped=enable_gqa)
    if kernel is Kernel.MATH:
        # Autocast has cast the inputs and then leaves the function's own products alone.
        with torch.autocast("cpu", enabled=False):
            return _by_operators(query, key, value, attn_mask, causal=is_causal, grouped=enable_gqa)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # Every layer makes an additive mask of it and keeps the copy for backward.
        attn_mask = torch.empty(attn_mask.shape, dtype=query.dtype)
    result: Tensor = _Fused.apply(query, key, value, attn_mask, kernel is Kernel.FLASH)
    return result


def _by_operators(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool, grouped: bool
) -> Tensor:
    """Attention by plain products in fp32, with all scores [B, H, S, K] in memory.

    Fewer heads of keys are repeated if they are grouped, and else broadcast by the product.

    Source: aten/src/ATen/native/transformers/attention.cpp (_scaled_dot_product_attention_math).
    """
    dtype = query.dtype
    # Any factor will do here and below: only the tensor that the product makes counts.
    query = query.float() * 0.5
    key, value = key.float(), value.float()
    if causal:
        mask = torch.empty(query.shape[-2], key.shape[-2], dtype=query.dtype)
    groups = query.shape[1] // key.shape[1]
    if grouped and groups > 1:
        key, value = (item.repeat_interleave(groups, dim=1) for item in (key, value))
    scores = query @ (key.transpose(-2, -1) * 0.5)
    if mask is not None:
        scores = scores.add_(mask)
    scores = torch.ops.aten._safe_softmax(scores, -1)
    # The function also returns the scores in the inputs' dtype, and its caller drops them.
    dropped = scores.to(dtype)
    result = (scores @ value).to(dtype)
    del dropped
    return result


class _Fused(torch.autograd.Function):
    """One kernel, which keeps the output [B, S, H, A] and the fp32 log-sum-exp [B, H, S]."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, flash: bool
    ) -> Tensor:
        rows, heads, length, _ = query.shape
        # Flash and cuDNN give their output the layout of the queries. A model that hands over
        # [B, H, S, A] copies the output when it transposes it, and the trace must see that copy.
        out = _as_laid_out(query, value.shape[-1]) if flash else _dense(query, value.shape[-1])
        kept = length if flash else _up(length, EFFICIENT_ROWS)
        sums = query.new_empty(rows, heads, kept, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, mask, out, sums)
        ctx.flash = flash
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *_ = ctx.saved_tensors
        if ctx.flash:
            gradients = [torch.empty_like(item) for item in (query, key, value)]
            taken = _flash_workspace(query, key, value)
        else:
            gradients = [_dense(item, item.shape[-1]) for item in (query, key, value)]
            taken = _efficient_workspace(query)
        # The workspace is held up to here, because a kernel frees it after its gradients exist.
        del taken
        return (*gradients, None, None)


def _as_laid_out(query: Tensor, size: int) -> Tensor:
    """A new tensor [B, H, S, size] in the order of the queries' dimensions.

    cuDNN takes values of another width than the queries' (multi-head latent attention): measured
    on an H200, DeepSeek-V2-Lite's output is copied, 4 KB per token and layer.
    """
    if query.shape[-1] == size:
        return torch.empty_like(query)
    if query.stride(1) < query.stride(2):
        return _dense(query, size)
    return query.new_empty(*query.shape[:3], size)


def _dense(item: Tensor, size: int) -> Tensor:
    """A new tensor that is stored as [B, S, H, A] and viewed as [B, H, S, A]."""
    rows, heads, length, _ = item.shape
    return item.new_empty(rows, length, heads, size).transpose(1, 2)


def _flash_workspace(query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    """The fp32 accumulator of the query's gradient, and gradients of grouped heads."""
    rows, heads, length, size = query.shape
    tall, wide = _up(length, FLASH_ROWS), _up(size, 32)
    found = [
        query.new_empty(rows, heads, tall, dtype=torch.float32),
        query.new_empty(rows, heads, tall, wide, dtype=torch.float32),
    ]
    if key.shape[1] != heads:
        keys = key.shape[2]
        found += [query.new_empty(rows, keys, heads, size) for _ in (key, value)]
    return found


def _efficient_workspace(query: Tensor) -> list[Tensor]:
    """The row sums, and an fp32 accumulator if the query's gradient is in half precision."""
    rows, heads, length, size = query.shape
    found = [query.new_empty(rows, heads, length, dtype=torch.float32)]
    if query.dtype != torch.float32:
        found.append(query.new_empty(rows, heads, length, size, dtype=torch.float32))
    return found


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


class _Flex(torch.autograd.Function):
    """flex_attention's kernel: output in the layout of the queries, and log-sum-exps [B, H, S]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        out = torch.empty_like(query)
        sums = query.new_empty(query.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums)
        return out, sums

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, ...]:
        query, key, value, out, sums = ctx.saved_tensors
        # The compiled function takes gradients in the layout of its results.
        same = outputs[0].stride() == out.stride()
        given = outputs[0] if same else torch.empty_like(out)
        rows = torch.empty_like(sums)
        gradients = tuple(torch.empty_like(item) for item in (query, key, value))
        del given, rows
        return gradients


def flex_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Stand in for the worker's flex_attention among transformers' attention functions."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = (item.to(dtype) for item in (query, key, value))
    result, sums = _Flex.apply(query, key, value)
    return with_sinks(result, sums, s_aux).transpose(1, 2).contiguous(), None


@contextmanager
def cuda_attention() -> Iterator[None]:
    """Replace torch's attention by the stand-in inside the context."""
    # torch's stub also allows ``scale`` by position, which its C++ binding refuses.
    stand_in: Any = attention
    original = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = stand_in
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original
