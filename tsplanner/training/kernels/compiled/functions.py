"""Rotary positions, head norms and gated products as functions with a gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsplanner.training.kernels.compiled import pieces


class Rotary(torch.autograd.Function):
    """Queries and keys [B, H, S, D] turned by cosine and sine [B or 1, S, D]."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, cosine: Tensor, sine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return fresh tensors, laid out as [B, S, H, D]; keep the tables alone."""
        ctx.save_for_backward(cosine, sine)
        return _turned(query, key, (cosine, sine), backward=False)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Turn the gradients back."""
        query, key = outputs
        return *_turned(query, key, ctx.saved_tensors, backward=True), None, None


def _turned(query: Tensor, key: Tensor, tables: pieces.Pair, *, backward: bool) -> pieces.Pair:
    query, key = (each if each.stride(-1) == 1 else each.contiguous() for each in (query, key))
    outs = _laid_out(query), _laid_out(key)
    pieces.rotary(query, key, outs, tables, backward=backward)
    return outs[0].transpose(1, 2), outs[1].transpose(1, 2)


def _laid_out(value: Tensor) -> Tensor:
    batch, heads, length, size = value.shape
    return value.new_empty(batch, length, heads, size)


class HeadNorm(torch.autograd.Function):
    """The function x / rms(x) * weight over a short last dimension, with a frozen weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Return the product [..., D], and keep x and 1 / rms per row."""
        x = x.contiguous()
        out = torch.empty_like(x)
        rows = x.view(-1, x.shape[-1])
        scale = rows.new_empty(rows.shape[0], dtype=torch.float32)
        pieces.head_norm(rows, weight, out.view(rows.shape), scale, epsilon)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of x."""
        x, weight, scale = ctx.saved_tensors
        gradient = outputs[0].contiguous()
        out = torch.empty_like(x)
        shape = (-1, x.shape[-1])
        pieces.head_norm_backward(
            gradient.view(shape), x.view(shape), weight, scale, out.view(shape)
        )
        return out, None, None


class GatedProduct(torch.autograd.Function):
    """The function silu(gate) * up of two tensors [..., F]."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """Return the product, and keep gate and up."""
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        out = torch.empty_like(gate)
        shape = (-1, gate.shape[-1])
        pieces.gated(
            gate.view(shape), up.view(shape), out.view(shape), pieces.Thin(), pieces.Thin()
        )
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of gate and up, which take the places of both."""
        gate, up = ctx.saved_tensors
        middle = outputs[0].clone(memory_format=torch.contiguous_format)
        shape, none = (-1, gate.shape[-1]), pieces.Thin()
        pieces.gated_backward(
            gate.view(shape), up.view(shape), middle.view(shape), none, none, none
        )
        return gate, up
