"""Packed rows: which rows of an optimizer step go through the model together.

Worker and forecast cut a step by this one rule, so that the forecast stands on the passes that will
really occur.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import cycle, pairwise

from memory_models.frozen import frozen
from memory_models.settings import BatchLayout, TrainingSettings, changed
from memory_models.units import ceil_div, round_up
from tsplanner.datasets.records import LengthSummary
from tsplanner.planner.settings import HardwareSettings, LearningSettings, training_settings
from tsplanner.throughput.widths import PAD_MULTIPLE, POINTS, length_at

ROWS_DRAWN = 1024
"""Rows whose lengths stand for all rows of a dataset."""
LARGEST_BUDGET = 65_536
"""Positions; beyond, a longer pass fills no GPU any better."""
MOST_BUDGETS = 5
"""Budgets that are tried for one group of GPUs."""
EVALUATED_TOGETHER = 64
"""Held-out rows that are cut into passes at once."""
WIDTHS = 33
"""Widths of passes that are kept: 32 even steps from the narrowest to the widest."""


def bins(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Places of rows by pass: as few passes as best-fit decreasing finds, of at most ``budget``.

    ``lengths``: decoder positions per row. A row longer than the budget has a pass of its own. The
    places within a pass are in their order. The passes come longest first, so that processes that
    wait for each other in every layer make passes of like lengths at the same time.
    """
    found: list[list[int]] = []
    rooms: list[tuple[int, int]] = []
    # Sorted by room, so that the first pass with room enough is the fullest one.
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        length = lengths[place]
        first = bisect_left(rooms, (length, 0))
        if first < len(rooms):
            room, index = rooms.pop(first)
        else:
            room, index = budget, len(found)
            found.append([])
        found[index].append(place)
        insort(rooms, (room - length, index))
    return sorted(
        map(sorted, found), key=lambda places: (-sum(lengths[place] for place in places), places)
    )


@frozen
class Pass:
    """Rows that go through the model together."""

    positions: int
    """Decoder positions of all rows, padded as the worker pads."""
    row_length: float
    """Mean over the positions of the length of their row."""


@frozen
class UsualPasses:
    """The passes of a usual group of rows: an optimizer step of one process, or an evaluation."""

    each: float
    """Number of passes per group of rows."""
    per_row: float
    """Number of passes per row."""
    passes: tuple[Pass, ...]
    """Equally likely passes; their mean is the mean of all."""
    widths: tuple[int, ...]
    """Positions of passes at even shares of them, narrow ones first."""

    @property
    def mean(self) -> Pass:
        """The mean pass."""
        return _mean(self.passes)


def usual_passes(lengths: LengthSummary, rows: int, budget: int, processes: int = 1) -> UsualPasses:
    """Passes of groups of ``rows`` rows, cut by `bins` as the worker cuts its own.

    ``processes``: processes that have a group each and wait for the slowest, whose passes count.
    """
    # More rows than were drawn are as many parts of a group.
    together = min(rows, max(1, ROWS_DRAWN // processes))
    found = _usual_passes(_spread(lengths), together, budget, processes)
    return replace(found, each=found.each * rows / together)


Spread = tuple[tuple[int, ...], float, int]
"""Quantiles, mean and longest of the lengths of rows."""


def _spread(lengths: LengthSummary) -> Spread:
    return lengths.quantiles or (round(lengths.mean),), lengths.mean, lengths.longest


@lru_cache(maxsize=256)
def _drawn(spread: Spread) -> tuple[int, ...]:
    """Lengths of rows that stand for those of a dataset, in an order that is always the same."""
    quantiles, mean, longest = spread
    found = [length_at(quantiles, (row + 0.5) / ROWS_DRAWN) for row in range(ROWS_DRAWN)]
    # The quantiles are of rows that are padded alone, and say little of the few longest rows.
    factor = mean * ROWS_DRAWN / sum(found)
    rows = [max(1, min(longest, round(length * factor))) for length in found]
    random.Random(0).shuffle(rows)
    return tuple(rows)


@lru_cache(maxsize=4096)
def _usual_passes(spread: Spread, rows: int, budget: int, processes: int) -> UsualPasses:
    together = rows * processes
    drawn = _drawn(spread) * ceil_div(together, ROWS_DRAWN)
    groups, found = 0, []
    for start in range(0, len(drawn) - together + 1, together):
        step = [drawn[start + place * rows :][:rows] for place in range(processes)]
        found += _passes(max(step, key=sum), budget)
        groups += 1
    found.sort(key=lambda each: each.positions)
    last = len(found) - 1
    return UsualPasses(
        each=len(found) / groups,
        per_row=len(found) / (groups * rows),
        passes=tuple(_mean(part) for part in _parts(found)),
        widths=tuple(
            found[round(place * last / (WIDTHS - 1))].positions for place in range(WIDTHS)
        ),
    )


def sensible_budgets(lengths: LengthSummary, rows: int, processes: int = 1) -> tuple[int, ...]:
    """Budgets worth trying for steps of ``rows`` rows per process, the largest first.

    The whole step in one pass, its halves, and a pass as long as the longest row. None where rows
    are all of one length, or come one at a step: then nothing is padded.
    """
    quantiles = lengths.quantiles
    if rows < 2 or not quantiles or quantiles[0] == quantiles[-1]:
        return ()
    whole = usual_passes(lengths, rows, rows * lengths.longest, processes).widths[-1]
    least, budget = round_up(lengths.longest, PAD_MULTIPLE), min(whole, LARGEST_BUDGET)
    found: list[int] = []
    while budget > least and len(found) < MOST_BUDGETS - 1:
        found.append(budget)
        budget = round_up(budget // 2, PAD_MULTIPLE)
    return (*found, least)


def longest_pass(lengths: LengthSummary, rows: int, budget: int) -> int:
    """Positions of the longest pass that may occur among steps of ``rows`` rows.

    It is a pass that fills its budget, or the longest row; where all rows of a step do not fill a
    pass, it is all of them.
    """
    filled = min(budget, lengths.longest * rows)
    return round_up(max(lengths.longest, filled), PAD_MULTIPLE)


def full_pass(lengths: LengthSummary, layout: BatchLayout) -> tuple[int, ...]:
    """Lengths of usual rows that fill a pass, the last one cut; a row over the budget is alone.

    Their sum is what `DatasetRef.longest_of` rounds up. A probe runs such passes.
    """
    assert layout.token_budget is not None
    room = min(layout.token_budget, lengths.longest * layout.gradient_accumulation_steps)
    if room <= lengths.longest:
        return (lengths.longest,)
    found: list[int] = []
    for length in cycle(_drawn(_spread(lengths))):
        found.append(min(length, room))
        room -= found[-1]
        if not room:
            return tuple(found)
    raise AssertionError("a cycle of rows has no end")


def passes_per_step(lengths: LengthSummary, layout: BatchLayout) -> int:
    """Micro-batches of a step that memory is sized for and a probe runs.

    Of packed rows that is the usual number of passes, but two where a step may need a second one.
    """
    budget, rows = layout.token_budget, layout.gradient_accumulation_steps
    if budget is None:
        return rows
    if lengths.longest * rows <= budget:
        return 1
    return max(2, round(usual_passes(lengths, rows, budget).each))


def probed_settings(
    learning: LearningSettings, hardware: HardwareSettings, lengths: LengthSummary, longest: int
) -> TrainingSettings:
    """The settings of a step that a probe runs, of micro-batches of ``longest`` positions."""
    settings = training_settings(learning, hardware, longest)
    if not hardware.batch.is_packed:
        return settings
    rows = full_pass(lengths, hardware.batch)
    steps = passes_per_step(lengths, hardware.batch)
    return replace(
        changed(settings, gradient_accumulation_steps=steps),
        row_length=sum(length * length for length in rows) / sum(rows),
    )


def settings_of_pass(
    learning: LearningSettings, hardware: HardwareSettings, given: Pass
) -> TrainingSettings:
    """The settings that the time of one packed pass is predicted by."""
    alone = changed(hardware, gradient_accumulation_steps=1)
    settings = training_settings(learning, alone, given.positions)
    return replace(settings, row_length=given.row_length)


def _passes(lengths: Sequence[int], budget: int) -> list[Pass]:
    """The passes of one group of rows."""
    found = []
    for places in bins(lengths, budget):
        together = [lengths[place] for place in places]
        total = sum(together)
        mean = sum(length * length for length in together) / total
        found.append(Pass(positions=round_up(total, PAD_MULTIPLE), row_length=mean))
    return found


def _parts(passes: Sequence[Pass]) -> list[Sequence[Pass]]:
    """Passes in parts of about as many each."""
    count = min(POINTS, len(passes))
    bounds = [round(part * len(passes) / count) for part in range(count + 1)]
    return [passes[low:high] for low, high in pairwise(bounds)]


def _mean(passes: Sequence[Pass]) -> Pass:
    """One pass with the mean work of several."""
    total = sum(each.positions for each in passes)
    scores = sum(each.positions * each.row_length for each in passes)
    return Pass(positions=max(1, round(total / len(passes))), row_length=scores / total)
