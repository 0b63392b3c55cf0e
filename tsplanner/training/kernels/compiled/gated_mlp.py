"""A gated MLP with its LoRA adapters as one function: down(silu(gate(x)) * up(x)).

Notation: N rows, F width of the MLP. The adapters of gate and up are added by the kernel of the
gated product while it reads, and so is the down adapter's part of its gradient: three products
[N, F] less go through memory. Backward makes the gated product again instead of keeping it, and
writes the gradients of gate and up over the two results that forward kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsplanner.training.kernels.compiled import pieces
from tsplanner.training.kernels.compiled.linears import Group


class GatedMlp(torch.autograd.Function):
    """The MLP of three frozen linears without biases, each with an adapter or none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, entry: Group, down: Group, *sides: Tensor) -> Tensor:
        """Return the result [..., D]; keep x, the bare gate and up [N, F] and the thin products.

        ``entry``: gate and up. ``sides``: those of both groups, which autograd must see as inputs.
        """
        rows = x.reshape(-1, x.shape[-1])
        low = entry.thin(rows)
        read = entry.prepared(rows)
        gate, up = (part.matrix.product(read) for part in entry.parts)
        del read
        middle = torch.empty_like(gate)
        pieces.gated(gate, up, middle, *_thin(entry, low))
        low_down = down.thin(middle)
        (result,) = down.outputs(middle, low_down)
        ctx.save_for_backward(x if entry.sides else None, gate, up, low, low_down)
        ctx.entry, ctx.down, ctx.shape = entry, down, x.shape
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and of every A and B; gate and up are overwritten."""
        x, gate, up, low, low_down = ctx.saved_tensors
        entry, down = ctx.entry, ctx.down
        gradient = [outputs[0].reshape(-1, outputs[0].shape[-1])]
        of_low_down = down.of_thin(gradient)
        middle = down.parts[0].matrix.product_back(gradient[0])
        of_down = pieces.Thin(of_low_down, down.a)
        pieces.gated_backward(gate, up, middle, *_thin(entry, low), of_down)
        of_sides: list[Tensor] = []
        if of_low_down is not None:
            of_sides = down.of_sides(middle, low_down, of_low_down, gradient)
        del middle
        of_low = entry.of_thin((gate, up))
        if of_low is not None:
            rows = x.reshape(-1, x.shape[-1])
            of_sides = entry.of_sides(rows, low, of_low, (gate, up)) + of_sides
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = entry.of_input((gate, up), of_low).view(ctx.shape)
        return of_x, None, None, *of_sides


def _thin(entry: Group, low: Tensor | None) -> tuple[pieces.Thin, pieces.Thin]:
    gate, up = (
        pieces.Thin() if b is None or low is None else pieces.Thin(entry.of(low, place), b)
        for place, b in enumerate(entry.b)
    )
    return gate, up
