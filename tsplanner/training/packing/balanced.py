"""Rows of a step dealt out so that every process has about as many tokens.

A step ends when its slowest process ends. Which process trains on a row changes nothing that is
learned: the loss is a mean over the labels of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from tsplanner.training.solo.padding_samples import PaddingLast


def shared_evenly(lengths: Sequence[int], processes: int) -> list[list[int]]:
    """Places of rows by process: equally many each, and tokens as even as the longest-first rule
    makes them.

    ``lengths``: tokens of each row, as many rows as the processes can share. Rows of a process are
    in their order.
    Source: R. L. Graham, Bounds on multiprocessing timing anomalies (1969); groups of one size.
    """
    size = len(lengths) // processes
    groups: list[list[int]] = [[] for _ in range(processes)]
    totals = [0] * processes
    for place in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        open_groups = (each for each in range(processes) if len(groups[each]) < size)
        lightest = min(open_groups, key=totals.__getitem__)
        groups[lightest].append(place)
        totals[lightest] += lengths[place]
    return [sorted(group) for group in groups]


class BalancedSteps(Sampler[int]):
    """The rows of an order step by step, and within a step process by process.

    ``rows``: of one process in one step; accelerate deals consecutive batches of so many out.
    """

    def __init__(self, order: PaddingLast, lengths: Sequence[int], rows: int, processes: int):
        self.order, self.lengths = order, lengths
        self.rows, self.processes = rows, processes

    def __iter__(self) -> Iterator[int]:
        """Yield the positions of one epoch."""
        step: list[int] = []
        for place in self.order:
            step.append(place)
            if len(step) == self.rows * self.processes:
                yield from self._dealt(step)
                step = []
        yield from step

    def _dealt(self, step: Sequence[int]) -> Iterator[int]:
        for group in shared_evenly([self.lengths[place] for place in step], self.processes):
            yield from (step[index] for index in group)

    def __len__(self) -> int:
        """Number of rows of an epoch."""
        return len(self.order)

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of another epoch."""
        self.order.set_epoch(epoch)
