"""Blank rows that give every rank as many micro-batches, without a row being learned twice.

A library that shards batches over ranks fills the last ones up with rows from the start of the
epoch. Those rows then weigh double, and the loss curve depends on the number of ranks. Rows without
a label fill up as well, and add nothing to the loss or to any gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler

from tsplanner.training.batches import IGNORED_LABEL, EncodedSample


def blanks_needed(rows: int, micro_batch_size: int, world_size: int) -> int:
    """Rows missing to whole micro-batches on all ranks; one process takes a short one as it is."""
    return 0 if world_size == 1 else -rows % (micro_batch_size * world_size)


def padded(rows: Sequence[EncodedSample], blanks: int) -> list[EncodedSample]:
    """The rows and so many blank ones behind them: copies of the shortest without a label."""
    shortest = min(rows, key=lambda row: len(row.input_ids))
    blank = replace(shortest, labels=[IGNORED_LABEL] * len(shortest.labels))
    return [*rows, *[blank] * blanks]


class BlanksLast(Sampler[int]):
    """Positions of the rows as one process would draw them, and then those of the blanks."""

    def __init__(self, rows: int, blanks: int, seed: int) -> None:
        self.order = SeedableRandomSampler(range(rows), data_seed=seed)
        self.blanks = range(rows, rows + blanks)

    def __iter__(self) -> Iterator[int]:
        """One epoch."""
        yield from self.order
        yield from self.blanks

    def __len__(self) -> int:
        """Rows and blanks."""
        return len(self.order) + len(self.blanks)

    def set_epoch(self, epoch: int) -> None:
        """Every epoch has an order of its own."""
        self.order.set_epoch(epoch)
