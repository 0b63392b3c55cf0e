"""The pieces of a decoder layer that one kernel each computes, filling tensors that are there.

Notation: N rows, F width of the MLP, R LoRA rank, D head size, C rows of logits, V vocabulary.

A piece is plain PyTorch on a CPU (the reference, in this file) and a Triton kernel on a GPU
(``triton_kernels.py``). Neither allocates anything that outlives it, so that the tensors that the
callers make are all that the memory model needs to know.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator


Pair = tuple[Tensor, Tensor]


class Thin(NamedTuple):
    """A thin product ``low side^T`` that a piece adds while it reads."""

    low: Tensor | None = None
    """[N, R], whose rows may be parts of wider rows; None: nothing is added."""
    side: Tensor | None = None
    """s B [F, R]; for the gradient of the down projection, A [R, F]."""

    @property
    def rank(self) -> int:
        """R; 0: nothing is added."""
        return 0 if self.low is None else self.low.shape[1]

    @property
    def row_stride(self) -> int:
        """Elements from one row of ``low`` to the next."""
        return 0 if self.low is None else self.low.stride(0)

    def arguments(self, stand_in: Tensor) -> tuple[Tensor, Tensor]:
        """Low and side; a kernel reads no element of a stand-in."""
        if self.low is None or self.side is None:
            return stand_in, stand_in
        return self.low, self.side

    def added_to(self, value: Tensor) -> Tensor:
        """``value`` [N, F] in fp32, plus the thin product with side [F, R]."""
        if self.low is None or self.side is None:
            return value.float()
        return value.float() + self.low.float() @ self.side.float().t()


class Piece:
    """Fills tensors: by a Triton kernel on a GPU, by plain PyTorch elsewhere."""

    traced = False
    """A trace is running, whose tensors have no values: nothing is filled."""

    def __init__(self, reference: Callable[..., None], kernel: str) -> None:
        self.reference, self.kernel = reference, kernel

    def __call__(self, first: Tensor, *others: Any, **options: Any) -> None:
        """Fill what the reference fills."""
        if Piece.traced:
            return
        fill = self.reference
        if first.is_cuda:
            from tsplanner.training.kernels.compiled import triton_kernels

            fill = getattr(triton_kernels, self.kernel)
        with torch.autocast(first.device.type, enabled=False):
            fill(first, *others, **options)


@contextmanager
def traced() -> Iterator[None]:
    """Let pieces leave their tensors alone while a trace runs."""
    before, Piece.traced = Piece.traced, True
    try:
        yield
    finally:
        Piece.traced = before


def gated_reference(gate: Tensor, up: Tensor, out: Tensor, of_gate: Thin, of_up: Thin) -> None:
    """Fill out [N, F] with silu(gate) * up, each with its thin product added."""
    wide = of_gate.added_to(gate)
    out.copy_(wide * torch.sigmoid(wide) * of_up.added_to(up))


def gated_backward_reference(
    gate: Tensor, up: Tensor, gradient: Tensor, of_gate: Thin, of_up: Thin, of_down: Thin
) -> None:
    """Replace gate and up by their gradients, and the gradient [N, F] by silu(gate) * up.

    ``of_down`` is added to the gradient first; its side is A [R, F].
    """
    wide, factor = of_gate.added_to(gate), of_up.added_to(up)
    incoming = gradient.float()
    if of_down.low is not None and of_down.side is not None:
        incoming = incoming + of_down.low.float() @ of_down.side.float()
    sigmoid = torch.sigmoid(wide)
    active = wide * sigmoid
    # In fp32 the wide tensors are the given ones, so all results come before the first copy.
    of_gate_itself = incoming * factor * (sigmoid + active * (1 - sigmoid))
    product, of_up_itself = active * factor, incoming * active
    for place, value in ((gradient, product), (gate, of_gate_itself), (up, of_up_itself)):
        place.copy_(value)


def rotary_reference(
    query: Tensor, key: Tensor, outs: Pair, tables: Pair, *, backward: bool
) -> None:
    """Fill outs [B, S, H, D] with query and key [B, H, S, D] turned by the tables [B or 1, S, D].

    The tables are cosine and sine; the halves of a head turn together. ``backward``: with the
    gradient of that.
    """
    c1, c2 = tables[0].unsqueeze(2).float().chunk(2, -1)
    s1, s2 = tables[1].unsqueeze(2).float().chunk(2, -1)
    for value, out in zip((query, key), outs, strict=True):
        first, second = value.transpose(1, 2).float().chunk(2, -1)
        if backward:
            parts = (first * c1 + second * s2, second * c2 - first * s1)
        else:
            parts = (first * c1 - second * s1, second * c2 + first * s2)
        out.copy_(torch.cat(parts, -1))


def head_norm_reference(
    x: Tensor, weight: Tensor, out: Tensor, scale: Tensor, epsilon: float
) -> None:
    """Fill out [N, D] with x / rms(x) * weight and scale [N] with 1 / rms(x)."""
    wide = x.float()
    scale.copy_(torch.rsqrt(wide.pow(2).mean(-1) + epsilon))
    out.copy_(wide * scale.unsqueeze(-1) * weight.float())


def head_norm_backward_reference(
    gradient: Tensor, x: Tensor, weight: Tensor, scale: Tensor, out: Tensor
) -> None:
    """Fill out [N, D] with the gradient of x."""
    unit = x.float() * scale.unsqueeze(-1)
    wide = gradient.float() * weight.float()
    out.copy_((wide - unit * (wide * unit).mean(-1, keepdim=True)) * scale.unsqueeze(-1))


def cross_entropy_reference(
    logits: Tensor, labels: Tensor, losses: Tensor, factor: float, softcap: float | None
) -> None:
    """Fill losses [C] with cross-entropies, and replace the logits [C, V] by their gradient.

    ``factor`` and ``softcap``: what the model does to its logits.
    """
    value = logits.float() * factor
    if softcap is not None:
        value = softcap * torch.tanh(value / softcap)
    index = labels.unsqueeze(1)
    losses.copy_((value.logsumexp(1, keepdim=True) - value.gather(1, index)).squeeze(1))
    gradient = value.softmax(1)
    gradient.scatter_add_(1, index, gradient.new_full(index.shape, -1.0))
    if softcap is not None:
        gradient = gradient * (1 - (value / softcap).square())
    logits.copy_(gradient * factor)


gated = Piece(gated_reference, "gated")
gated_backward = Piece(gated_backward_reference, "gated_backward")
rotary = Piece(rotary_reference, "rotary")
head_norm = Piece(head_norm_reference, "head_norm")
head_norm_backward = Piece(head_norm_backward_reference, "head_norm_backward")
cross_entropy = Piece(cross_entropy_reference, "cross_entropy")
