"""Padding samples that give every process the same number of micro-batches.

accelerate's sharded batch sampler (data_loader.py, BatchSamplerShard) fills the last batches with
rows from the start of the epoch. Those rows would count twice, and the loss curve would depend on
the number of processes. A row without labels fills the batch too, and adds nothing to the loss or
to any gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import overload

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler

from tsplanner.training.batches import IGNORED_LABEL, EncodedSample
from tsplanner.training.stored_rows import row_tokens


def padding_needed(rows: int, micro_batch_size: int, world_size: int) -> int:
    """Rows that the last micro-batches of all processes lack; 0 for one process.

    A single process trains on a short last batch as it is.
    """
    return 0 if world_size == 1 else -rows % (micro_batch_size * world_size)


class PaddedRows(Sequence[EncodedSample]):
    """The rows, followed by copies of one that carries no loss."""

    def __init__(self, rows: Sequence[EncodedSample], padding: EncodedSample, count: int) -> None:
        self._rows, self._padding, self._count = rows, padding, count

    def __len__(self) -> int:
        """Number of rows and padding samples."""
        return len(self._rows) + self._count

    def tokens(self) -> list[int]:
        """Text tokens of every row and padding sample."""
        return [*map(int, row_tokens(self._rows)), *[len(self._padding.input_ids)] * self._count]

    @overload
    def __getitem__(self, place: int) -> EncodedSample: ...
    @overload
    def __getitem__(self, place: slice) -> list[EncodedSample]: ...
    def __getitem__(self, place: int | slice) -> EncodedSample | list[EncodedSample]:
        """A row, or some of them."""
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._rows[place] if place < len(self._rows) else self._padding


def padded(rows: Sequence[EncodedSample], padding_samples: int) -> Sequence[EncodedSample]:
    """The rows, followed by ``padding_samples`` copies of the shortest row without labels."""
    if not padding_samples:
        return rows
    # The shortest row adds the least padding and the fewest patches to its batch.
    shortest = rows[min(range(len(rows)), key=row_tokens(rows).__getitem__)]
    unlabelled = replace(shortest, labels=[IGNORED_LABEL] * len(shortest.labels))
    return PaddedRows(rows, unlabelled, padding_samples)


class PaddingLast(Sampler[int]):
    """Draws the rows in the order of a single process, and then the padding samples."""

    def __init__(self, rows: int, padding_samples: int, seed: int) -> None:
        self.order = SeedableRandomSampler(range(rows), data_seed=seed)
        self.padding_samples = range(rows, rows + padding_samples)

    def __iter__(self) -> Iterator[int]:
        """Yield the positions of one epoch."""
        yield from self.order
        yield from self.padding_samples

    def __len__(self) -> int:
        """Number of rows and padding samples."""
        return len(self.order) + len(self.padding_samples)

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of another epoch."""
        self.order.set_epoch(epoch)
