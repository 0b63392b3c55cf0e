"""Embedding and head whose rows the processes of a run share out; hidden states travel instead.

A table of the vocabulary is larger than many layers, while the states of a pass are small beside
it. So no process gathers a table: each looks up, or multiplies with, the rows that are its own, for
the tokens of all processes. What comes back is exact for the embedding, a sum of one row and zeros;
the loss joins maxima, sums and logits of the labels of all parts (as in a softmax over parts).

Every process must call each of them equally often.

Notation: P processes, N rows with a label, C rows per chunk and process, D hidden size, v own rows
of the vocabulary.
Source of the split: M. Shoeybi et al., Megatron-LM (arXiv 1909.08053), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from tsplanner.errors import TsplannerError
from tsplanner.training.fully_sharded.sharers import Sharers
from tsplanner.training.kernels.fused_loss import SHARED_LOSS, LogitChanges, chunk_rows

NOBODYS = -1
"""A label that no process has a row for."""


def share_embedding(embedding: nn.Embedding, device: torch.device, sharers: Sharers) -> None:
    """Leave an embedding's own rows on the device; calls look all rows up together."""
    own = sharers.own_rows(embedding.num_embeddings)
    _keep(embedding, "weight", own, device)
    embedding.forward = partial(_looked_up, embedding, own, sharers)


def share_head(head: nn.Linear, device: torch.device, sharers: Sharers) -> None:
    """Leave a head's own rows on the device; the fused loss multiplies with all of them."""
    own = sharers.own_rows(head.out_features)
    _keep(head, "weight", own, device)
    if head.bias is not None:
        _keep(head, "bias", own, device)
    head.__dict__[SHARED_LOSS] = SharedLoss(head, own, sharers)
    head.forward = _no_logits


def _keep(module: nn.Module, name: str, own: range, device: torch.device) -> None:
    rows = getattr(module, name).detach()[own.start : own.stop].to(device, copy=True)
    setattr(module, name, nn.Parameter(rows, requires_grad=False))


def _no_logits(_: Tensor) -> NoReturn:
    raise TsplannerError(
        "No process of this run has the whole lm_head, so that no logits can be made: "
        "load the trained adapter onto the base without --fsdp."
    )


@torch.no_grad()
def _looked_up(embedding: nn.Embedding, own: range, sharers: Sharers, ids: Tensor) -> Tensor:
    """Rows [..., D] of the ids [...] of this process."""
    flat = ids.flatten()
    (width,) = sharers.largest([flat.numel()])
    wanted = sharers.gathered(_filled(flat, width, NOBODYS)) - own.start
    inside = (wanted >= 0) & (wanted < len(own))
    rows = nn.functional.embedding(wanted.clamp(0, len(own) - 1), embedding.weight)
    rows.masked_fill_(~inside.unsqueeze(1), 0)
    return sharers.scattered(rows, width)[: flat.numel()].view(*ids.shape, -1)


def _filled(rows: Tensor, count: int, value: float) -> Tensor:
    """``rows``, and as many of ``value`` behind them as make ``count``."""
    found = rows.new_full((count, *rows.shape[1:]), value)
    found[: rows.shape[0]] = rows
    return found


@dataclass(frozen=True)
class SharedLoss:
    """The loss of a shared-out head."""

    head: nn.Linear
    own: range
    sharers: Sharers

    def __call__(
        self, states: Tensor, labels: Tensor, positions: int, dtype: torch.dtype, how: LogitChanges
    ) -> Tensor:
        """Cross-entropies [N] of states [N, D], which every row has a label for.

        ``positions``: of the batch, with those that carry no loss; ``dtype``: of the products.
        """
        most_positions, most_rows = self.sharers.largest([positions, states.shape[0]])
        chunk = chunk_rows(most_positions, states.shape[1], self.head.out_features)
        weight, bias = self.head.weight.to(dtype), self.head.bias
        parts = _Part(weight, bias, self.own, chunk, how, self.sharers)
        losses: Tensor = SharedCrossEntropy.apply(states, labels, parts, most_rows)
        return losses


class SharedCrossEntropy(torch.autograd.Function):
    """Cross-entropies of ``hidden @ weight.T + bias``, whose rows are on several processes."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, labels: Tensor, part: _Part, most_rows: int) -> Tensor:
        """Return fp32 losses [N] and keep the gradient of hidden [N, D]."""
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        losses = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        for start in range(0, most_rows, part.rows):
            rows = slice(start, start + part.rows)
            # Of a process that has no rows left, the slices are empty.
            found = part.chunk(
                hidden[rows], labels[rows], None if gradient is None else gradient[rows]
            )
            losses[rows] = found
        ctx.gradient = gradient
        return losses

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradient that forward kept, once for all (see ``ChunkedCrossEntropy``)."""
        (scales,) = outputs
        gradient, ctx.gradient = ctx.gradient, None
        return (None if gradient is None else gradient.mul_(scales.unsqueeze(1)), None, None, None)


@dataclass(frozen=True)
class _Part:
    """This process's part of a head."""

    weight: Tensor
    """[v, D] in the dtype of the products."""
    bias: Tensor | None
    own: range
    rows: int
    """C."""
    changes: LogitChanges
    sharers: Sharers

    def chunk(self, states: Tensor, labels: Tensor, gradient: Tensor | None) -> Tensor:
        """Losses of up to C rows of every process; writes ``gradient`` of this process's rows."""
        count, weight = states.shape[0], self.weight
        everybody = self.sharers.gathered(_filled(states.to(weight.dtype), self.rows, 0))
        wanted = self.sharers.gathered(_filled(labels, self.rows, NOBODYS)) - self.own.start
        inside = (wanted >= 0) & (wanted < len(self.own))
        index = wanted.clamp(0, len(self.own) - 1).unsqueeze(1)
        bias = None if self.bias is None else self.bias.to(weight.dtype)
        logits, capped = self._changed(nn.functional.linear(everybody, weight, bias).float())
        del everybody
        chosen = logits.gather(1, index).squeeze(1).masked_fill(~inside, 0)
        largest = logits.amax(dim=1)
        exponentials = logits.sub_(largest.unsqueeze(1)).exp_()
        of_parts = torch.stack([largest, exponentials.sum(dim=1), chosen])
        found = self.sharers.gathered(of_parts).view(-1, *of_parts.shape)
        top = found[:, 0].amax(dim=0)
        total = (found[:, 1] * (found[:, 0] - top).exp()).sum(dim=0)
        losses = total.log() + top - found[:, 2].sum(dim=0)
        first = self.sharers.rank * self.rows
        if gradient is not None:
            scale = (largest - top).exp() / total
            slopes = exponentials.mul_(scale.unsqueeze(1))
            slopes.scatter_add_(1, index, -inside.to(slopes.dtype).unsqueeze(1))
            narrow = self._unchanged(slopes, capped).to(weight.dtype)
            gradient.copy_(self.sharers.scattered(narrow @ weight, self.rows)[:count])
        return losses[first : first + count]

    def _changed(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logits after what the model does to them, and the tanh of a soft cap."""
        factor, softcap = self.changes
        if factor != 1:
            logits.mul_(factor)
        if softcap is None:
            return logits, None
        capped = torch.tanh(logits / softcap)
        return capped * softcap, capped

    def _unchanged(self, slopes: Tensor, capped: Tensor | None) -> Tensor:
        """The gradient of the head's own logits."""
        if capped is not None:
            slopes.mul_(1 - capped * capped)
        return slopes.mul_(self.changes.factor) if self.changes.factor != 1 else slopes
