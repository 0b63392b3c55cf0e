"""A layer's program reduced to its levels, where it does other work at other sizes.

A scan in chunks that is written as a loop makes more tensors for longer rows. Then the events of
two sizes cannot be matched one by one. What can be matched is what a layer keeps, its highest level
in forward and in backward, and the tensors that it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable

from memory_models.symbolic import ALLOC, FREE
from tsplanner.tracing.recording.programs import Program, Signed


def levels_of(program: Program) -> Program:
    """The shortest program with the same kept bytes, the same peaks and the same tensors left.

    All that the layer makes and keeps becomes one tensor, and all that passes at a peak another.
    """
    forward, backward = _Part(program.forward, program), _Part(program.backward, program)
    cached = [number for _, number in program.cached]
    kept = set(program.kept)
    own = [n for n in forward.left if n in kept]
    passed_on = [n for n in forward.left if n not in kept and n not in cached]
    found = Program()
    held = _new(found, sum(program.bytes[n] for n in own))
    names = {n: _new(found, program.bytes[n]) for n in [*cached, *passed_on]}
    names |= {n: _new(found, program.bytes[n]) for n in program.kept if n not in own}
    outer = [n for n in [*forward.taken, *backward.taken] if n not in own]
    for number in dict.fromkeys(outer):
        if number not in names:
            names[number] = _new(found, program.bytes[number])
    found.forward = [(ALLOC, names[n]) for n in cached] + [(ALLOC, held)]
    found.forward += [(ALLOC, names[n]) for n in passed_on]
    found.forward += _passing(found, forward.above_left)
    found.forward += [(FREE, names[n]) for n in forward.taken]
    found.cached = [(FREE, names[n]) for n in cached]
    found.kept = [held, *(names[n] for n in program.kept if n not in own)]
    left = [_new(found, program.bytes[n]) for n in backward.left]
    found.backward = [(ALLOC, n) for n in left] + _passing(found, backward.above_left)
    found.backward += [(FREE, held)] if own else []
    found.backward += [(FREE, names[n]) for n in backward.taken if n not in own]
    return found


class _Part:
    """The events of forward or of backward, by what they leave and take."""

    def __init__(self, events: Iterable[Signed], program: Program) -> None:
        made: dict[int, None] = {}
        self.taken: list[int] = []
        """Tensors of before that are freed."""
        level = peak = 0
        for sign, number in events:
            level += sign * program.bytes[number]
            peak = max(peak, level)
            if sign == ALLOC:
                made[number] = None
            elif number in made:
                del made[number]
            else:
                self.taken.append(number)
        self.left = list(made)
        """Tensors that are made and stay."""
        self.above_left = max(0, peak - sum(program.bytes[number] for number in self.left))
        """Bytes of the peak above all that stays."""


def _new(program: Program, size: int) -> int:
    program.bytes.append(size)
    return len(program.bytes) - 1


def _passing(program: Program, size: int) -> list[Signed]:
    number = _new(program, size)
    return [(ALLOC, number), (FREE, number)]
