"""Products of the parts of a batch, each with the matrix of its own trial.

Padded rows give every trial a part of the same length, so that one batched product serves all.
Packed rows give parts of their own lengths: a product each, and nothing is filled up.
Shapes: rows [N, p] of k parts after one another, matrices [k, p, q].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Parts(NamedTuple):
    """The parts of a batch."""

    trials: int
    sizes: tuple[int, ...] | None = None
    """Entries of each part; None: all parts are equally long."""

    def times(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Each part times its matrix [N, q]."""
        if self.sizes is None:
            return torch.bmm(self._equal(rows), matrices).view(len(rows), -1)
        found = rows.new_empty(len(rows), matrices.shape[-1])
        for part, own, matrix in zip(*self._split(found, rows), matrices, strict=True):
            torch.mm(own, matrix, out=part)
        return found

    def add_times(self, target: Tensor, rows: Tensor, matrices: Tensor) -> None:
        """Add each part times its matrix to the target [N, q], in place."""
        if target.dtype != rows.dtype:
            target.add_(self.times(rows, matrices))
        elif self.sizes is None:
            self._equal(target).baddbmm_(self._equal(rows), matrices)
        else:
            for part, own, matrix in zip(*self._split(target, rows), matrices, strict=True):
                part.addmm_(own, matrix)

    def outer(self, left: Tensor, right: Tensor) -> Tensor:
        """The transpose of each part of ``left`` times the same part of ``right`` [k, p, q]."""
        if self.sizes is None:
            return torch.bmm(self._equal(left).transpose(1, 2), self._equal(right))
        found = left.new_empty(self.trials, left.shape[1], right.shape[1])
        for part, one, other in zip(found, *self._split(left, right), strict=True):
            torch.mm(one.t(), other, out=part)
        return found

    def _equal(self, rows: Tensor) -> Tensor:
        """[k, N / k, p]; a view where the rows are contiguous."""
        return rows.reshape(self.trials, -1, rows.shape[-1])

    def _split(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        assert self.sizes is not None
        for tensor in tensors:
            yield tensor.split(self.sizes)
