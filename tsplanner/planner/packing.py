"""Packed rows: which rows of an optimizer step go through the model together.

Worker and forecast cut a step by this one rule, so that the forecast stands on the passes that will
really occur.
"""

from __future__ import annotations

from collections.abc import Sequence


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
