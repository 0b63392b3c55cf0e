"""The program of one decoder layer in one traced micro-batch: its events by its own tensors.

Only tensors of the layer itself count: those that it makes, its input and the gradient of its
output. A tensor that a later layer frees is freed where its own layer ends, so that the programs
of equal layers are equal and each leaves nothing behind that the next one would have to know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from memory_models.allocator.caching_allocator import Event
from memory_models.symbolic import ALLOC, FREE
from tsplanner.tracing.recording.segments import MicroBatch

Signed = tuple[int, int]
"""``ALLOC`` or ``FREE``, and the number of a tensor within its layer."""


@dataclass(slots=True)
class Program:
    """One layer of one micro-batch at one size."""

    forward: list[Signed] = field(default_factory=list)
    cached: list[Signed] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    backward: list[Signed] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    """Of every tensor, by its number."""
    flops: int = 0

    @property
    def shape(self) -> tuple[object, ...]:
        """All but the sizes: equal for equal layers and for every size of the micro-batch."""
        return tuple(self.forward), tuple(self.cached), tuple(self.kept), tuple(self.backward)


class MicroBatchPrograms:
    """The programs of all layers in one micro-batch."""

    def __init__(self, events: list[Event], found: MicroBatch, sizes: dict[int, int]) -> None:
        """``sizes``: bytes of every storage by its number."""
        self.events, self.found, self.sizes = events, found, sizes
        self.layers = len(found.forward) - 1
        self.births = {number: place for place, (number, size) in enumerate(events) if size}
        self.deaths = {number: place for place, (number, size) in enumerate(events) if not size}
        self.input_of = {number: place for place, number in enumerate(found.inputs)}

    def alive_between(self) -> set[int]:
        """Storages of this micro-batch that are alive between forward and backward."""
        begin, between = self.found.begin, self.found.between
        return {
            number
            for number, place in self.births.items()
            if begin <= place < between and self.deaths.get(number, between) >= between
        }

    def around(self) -> list[int]:
        """Bytes of the tensors that are made around the layers and stay for backward.

        They are made before the first layer, or between the last one and the last norm (Gemma 3n
        makes one stream of four there). They come in the order of their making; the first layer's
        input and the last one's output are not among them.
        """
        first, last = self.found.forward[0], self.found.forward[-1]
        head = last if self.found.head is None else self.found.head
        return [
            self.sizes[number]
            for number in sorted(self.alive_between())
            if (self.births[number] < first or last <= self.births[number] < head)
            and number not in self.input_of
        ]

    def of(self, place: int, *, checkpointed: bool) -> Program:
        """The program of the layer at ``place``."""
        found, names = self.found, _Names(self.sizes)
        begin, end = found.forward[place], found.forward[place + 1]
        own = {n for n, birth in self.births.items() if begin <= birth < end}
        stream, output = found.inputs[place], found.inputs[place + 1]
        program = Program(bytes=names.bytes)
        program.forward = names.signed(self._span(begin, end, own | {stream}))
        head = found.forward[-1]
        for number in own - {output}:
            death = self.deaths.get(number, found.end)
            if end <= death < head:
                program.forward.append((FREE, names.of(number)))
            elif head <= death < found.between:
                program.cached.append((FREE, names.of(number)))
        alive = self.alive_between()
        kept = {number for number in own - {output} if number in alive}
        if stream in alive and not checkpointed:
            kept.add(stream)
        program.kept = sorted(names.of(number) for number in kept)
        self._backward(place, kept, program, names)
        return program

    def _backward(self, place: int, kept: set[int], program: Program, names: _Names) -> None:
        found = self.found
        begin = found.backward[place]
        end = found.backward.get(place - 1, found.end)
        made = {n for n, birth in self.births.items() if begin <= birth < end}
        incoming = found.gradients.get(place)
        own = made | kept | ({incoming} if incoming is not None else set())
        program.backward = names.signed(self._span(begin, end, own))
        outgoing = found.gradients.get(place - 1)
        for number in sorted(made | kept):
            death = self.deaths.get(number)
            if number != outgoing and death is not None and not begin <= death < end:
                program.backward.append((FREE, names.of(number)))

    def _span(self, begin: int, end: int, own: set[int]) -> Iterable[Event]:
        return (event for event in self.events[begin:end] if event[0] in own)


class _Names:
    """Numbers of a layer's tensors in the order in which they appear."""

    def __init__(self, sizes: dict[int, int]) -> None:
        self.sizes = sizes
        self.numbers: dict[int, int] = {}
        self.bytes: list[int] = []

    def of(self, number: int) -> int:
        if number not in self.numbers:
            self.numbers[number] = len(self.bytes)
            self.bytes.append(self.sizes[number])
        return self.numbers[number]

    def signed(self, events: Iterable[Event]) -> list[Signed]:
        return [(ALLOC if size else FREE, self.of(number)) for number, size in events]
