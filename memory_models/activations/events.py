"""The tapes of block and tail as events: what comes and what goes, in order, for replaying."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.decoder_layer import Program
from memory_models.activations.lm_head import Tail
from memory_models.activations.tape import ZERO, Node, Size, Storage, Tape, Value, times
from memory_models.architecture import Architecture
from memory_models.settings import HeadSettings, LayerSettings

Event = tuple[int, Size]
"""(+1 or -1, size): a tensor of this size comes, or one of them goes."""
Events = tuple[Event, ...]
WORKSPACE: Event = (0, ZERO)
"""Backward's thread multiplies for the first time: cuBLAS takes a workspace, for good."""
ADALORA_PIECES = 4
"""Temporaries of the gradient of AdaLoRA's divisor, by far its largest."""


class EventTape(Tape):
    """A tape that also notes what comes and goes.

    ``saves`` off: as under ``no_grad``. ``pieces``: tensors that an op's temporaries are.
    """

    def __init__(self, *, saves: bool = True, pieces: int = 1) -> None:
        super().__init__()
        self.saves, self.pieces = saves, pieces
        self.events: list[Event] = []
        self.kept_on: list[Size] = []

    def _take(self, size: Size) -> None:
        super()._take(size)
        self.events.append((1, size))

    def _give(self, size: Size) -> None:
        super()._give(size)
        self.events.append((-1, size))

    def record(self, *args: object, **options: object) -> None:
        """Note a node, unless nothing is saved."""
        if self.saves:
            super().record(*args, **options)  # type: ignore[arg-type]

    def keep(self, value: Value) -> None:
        """A tensor that stays after backward: a gradient that forward made."""
        value.storage.holders += 1
        self.kept_on.append(value.storage.size)

    def _play(self, node: Node, found: dict[int, Storage], *, accumulates: bool) -> None:
        """Temporaries of an op are several tensors, not one."""
        start = len(self.events)
        super()._play(node, found, accumulates=accumulates)
        played = self.events[start:]
        if self.pieces == 1 or (1, node.work) not in played:
            return
        a, b, c = node.work
        piece = (a // self.pieces, b // self.pieces, c // self.pieces)
        for sign in (1, -1):
            place = played.index((sign, node.work))
            played[place : place + 1] = [(sign, piece)] * self.pieces
        self.events[start:] = played

    def until_last_save(self) -> list[Event]:
        """Events of forward up to the last saved tensor."""
        taken = 0
        for place, (sign, _) in enumerate(self.events):
            taken += sign > 0
            if taken > self.last_save:
                return self.events[:place]
        return list(self.events)

    def unsaved(self, events: Iterable[Event]) -> list[Event]:
        """Events that leave only what is saved, after ``events``."""
        live: Counter[Size] = Counter()
        for sign, size in events:
            live[size] += sign
        live.subtract(Counter((*self.saved(), *self.kept_on)))
        return [
            (-1 if count > 0 else 1, size)
            for size, count in live.items()
            for _ in range(abs(count))
            if size != ZERO
        ]

    def play_backward(
        self, output: Value, *, accumulates: bool, recomputed: bool, product: int | None = None
    ) -> list[Event]:
        """Events of backward, the gradient of ``output`` being there already.

        ``product``: the node that multiplies first in backward's thread; ``WORKSPACE`` stands
        where it does.
        """
        again = self.until_last_save() if recomputed else []
        again += self.unsaved(again) if recomputed else []
        self._hold_saved_only()
        self.events = []
        found = {id(output): Storage(times(output.elements, output.bytes))}
        waiting = recomputed
        for place in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[place]
            if waiting and node.saved and any(id(value) in found for value in node.outputs):
                waiting = False
                self.events += again
            if place == product:
                self.events.append(WORKSPACE)
            self._play(node, found, accumulates=accumulates)
        return self.events


class BlockEvents(NamedTuple):
    """Events of one block; the gradient of its input is left at the end of ``backward``."""

    forward: Events
    backward: Events
    kept: Events
    """What stays of ``forward``, its output included."""
    left: Events
    """What ``backward`` leaves and takes away in the end."""
    cached: Events
    """Autocast's casts of weights go."""


def _net(events: Sequence[Event]) -> Events:
    total: Counter[Size] = Counter()
    order: dict[Size, None] = {}
    for sign, size in events:
        total[size] += sign
        order[size] = None
    return tuple(
        (1 if total[size] > 0 else -1, size) for size in order for _ in range(abs(total[size]))
    )


@lru_cache(maxsize=1024)
def block_events(
    architecture: Architecture,
    settings: LayerSettings,
    *,
    trained: bool,
    masked: bool,
    accumulates: bool,
) -> BlockEvents:
    """Events of one block of the program in ``decoder_layer.py``."""
    checkpointed = settings.checkpointed
    width = (architecture.hidden_size, 0, 0)

    def run(tape: EventTape) -> tuple[Program, Value]:
        program = Program(architecture, settings, trained=trained, masked=masked)
        program.tape = tape
        return program, program.run(tape.new(width, program.flow.residual))

    adalora = settings.method.is_adalora
    tape, cached = EventTape(pieces=ADALORA_PIECES if adalora else 1), []
    _, output = run(tape)
    if checkpointed:
        plain = EventTape(saves=False)
        program, _ = run(plain)
        # The checkpoint holds the block's input, autocast its casts until forward has ended.
        end = len(plain.events) - len(program.cached)
        cached = plain.events[end:]
        forward = [*plain.events[1:end], (1, plain.events[0][1])]
        tape.events, tape.last_save = tape.events[1:], tape.last_save - 1
    else:
        forward = tape.events[1:]
    backward = tape.play_backward(output, accumulates=accumulates, recomputed=checkpointed)
    return BlockEvents(
        forward=tuple(forward),
        backward=tuple(backward),
        kept=_net(forward),
        left=_net(backward),
        cached=tuple(cached),
    )


@lru_cache(maxsize=1024)
def tail_events(
    architecture: Architecture, settings: HeadSettings, *, accumulates: bool, first: bool
) -> tuple[Events, Events]:
    """Events of head and loss, forward and backward; the gradient of its input is left.

    ``first``: backward's thread has no cuBLAS workspace yet.
    """
    tail = Tail(architecture, settings)
    tape = EventTape()
    tail.tape = tape
    loss = tail.run()
    forward = tape.events[1:]
    gradient = times(loss.elements, loss.bytes)
    between = tape.unsaved(tape.events)
    if gradient != ZERO:
        between.append((1, gradient))
    product = tail.head_node if first else None
    if first and settings.adalora:
        # The orthogonality term's products come first.
        between.append(WORKSPACE)
        product = None
    backward = tape.play_backward(loss, accumulates=accumulates, recomputed=False, product=product)
    if first and tail.head_node is None:
        backward.append(WORKSPACE)
    if accumulates:
        backward += [(-1, size) for size in tape.kept_on]
    return tuple(forward), (*between, *backward)
