"""Padding samples that give every process the same number of micro-batches.

accelerate's sharded batch sampler (data_loader.py, BatchSamplerShard) fills the last batches with
rows from the start of the epoch. Those rows would count twice, and the loss curve would depend on
the number of processes. A row without labels fills the batch too, and adds nothing to the loss or
to any gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler

from tsplanner.training.batches import IGNORED_LABEL, EncodedSample


def padding_needed(rows: int, micro_batch_size: int, world_size: int) -> int:
    """Rows that the last micro-batches of all processes lack; 0 for one process.

    A single process trains on a short last batch as it is.
    """
    return 0 if world_size == 1 else -rows % (micro_batch_size * world_size)


def padded(rows: Sequence[EncodedSample], padding_samples: int) -> list[EncodedSample]:
    """The rows, followed by ``padding_samples`` copies of the shortest row without labels."""
    # The shortest row adds the least padding and the fewest patches to its batch.
    shortest = min(rows, key=lambda row: len(row.input_ids))
    unlabelled = replace(shortest, labels=[IGNORED_LABEL] * len(shortest.labels))
    return [*rows, *[unlabelled] * padding_samples]


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
