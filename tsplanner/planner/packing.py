"""Packed rows: which rows of an optimizer step go through the model together.

Worker and forecast cut a step by this one rule, so that the forecast stands on the passes that will
really occur.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

from memory_models.frozen import frozen
from memory_models.units import round_up
from tsplanner.throughput.widths import PAD_MULTIPLE, POINTS, length_at

STEPS_DRAWN = 32
"""Steps that stand for all steps of a run."""


def bins(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Places of rows by pass: as few passes as best-fit decreasing finds, of at most ``budget``.

    ``lengths``: decoder positions per row. A row longer than the budget has a pass of its own. The
    places within a pass are in their order, and so are the passes by their first place.
    """
    found: list[list[int]] = []
    left: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        length = lengths[place]
        fitting = [index for index, room in enumerate(left) if room >= length]
        if fitting:
            # The fullest pass that still has room leaves the most room elsewhere.
            index = min(fitting, key=lambda index: (left[index], index))
        else:
            index = len(found)
            found.append([])
            left.append(budget)
        found[index].append(place)
        left[index] -= length
    return sorted(sorted(places) for places in found)


@frozen
class Pass:
    """Rows that go through the model together."""

    positions: int
    """Decoder positions of all rows, padded as the worker pads."""
    row_length: float
    """Mean over the positions of the length of their row."""


@frozen
class UsualPasses:
    """The passes of a usual step of one process."""

    per_step: float
    """Number of passes per optimizer step."""
    passes: tuple[Pass, ...]
    """Equally likely passes."""


@lru_cache(maxsize=4096)
def usual_passes(quantiles: tuple[int, ...], rows: int, budget: int) -> UsualPasses:
    """Passes of steps of ``rows`` rows, whose lengths have these quantiles.

    Some steps are drawn, always the same ones, and cut by `bins` as the worker cuts its own.
    """
    dice = random.Random(0)
    found: list[Pass] = []
    for _ in range(STEPS_DRAWN):
        lengths = [max(1, round(length_at(quantiles, dice.random()))) for _ in range(rows)]
        for places in bins(lengths, budget):
            together = [lengths[place] for place in places]
            total = sum(together)
            mean = sum(length * length for length in together) / total
            found.append(Pass(positions=round_up(total, PAD_MULTIPLE), row_length=mean))
    per_step = len(found) / STEPS_DRAWN
    ordered = sorted(found, key=lambda each: each.positions)
    chosen = [ordered[(2 * i + 1) * len(ordered) // (2 * POINTS)] for i in range(POINTS)]
    # What the few passes lack of the tokens of all is made up by their number.
    mean_of_all = sum(each.positions for each in found) / len(found)
    mean_of_few = sum(each.positions for each in chosen) / len(chosen)
    return UsualPasses(per_step=per_step * mean_of_all / mean_of_few, passes=tuple(chosen))
