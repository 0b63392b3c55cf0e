"""A tape of allocations: what eager PyTorch with autograd takes and gives back, op by op.

A program of ops on values with symbolic sizes is run once; the levels that memory goes through,
forward and backward, are linear functions of the tokens. Source of the rules: torch/csrc/autograd
(a node's saved tensors go after it has run; a second gradient is added in place if the first is
held by nobody else, input_buffer.cpp) and Python (a local variable holds its tensor until it is
rebound or its function returns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Size = tuple[int, int, int]
"""Bytes (or elements) a token, fixed, and a third unit (attention scores, or rows of a chunk)."""
ZERO: Size = (0, 0, 0)


def times(size: Size, factor: int) -> Size:
    """A multiple of a size."""
    return size[0] * factor, size[1] * factor, size[2] * factor


def _sum(left: Size, right: Size) -> Size:
    return left[0] + right[0], left[1] + right[1], left[2] + right[2]


class Storage:
    """Memory with the number of holders it has."""

    __slots__ = ("holders", "size")

    def __init__(self, size: Size) -> None:
        self.size = size
        self.holders = 1


class Value:
    """A tensor: a storage, its own elements, their bytes, and whether it needs a gradient."""

    __slots__ = ("bytes", "elements", "needs", "storage")

    def __init__(self, storage: Storage, elements: Size, bytes: int, *, needs: bool) -> None:
        self.storage = storage
        self.elements = elements
        self.bytes = bytes
        self.needs = needs

    @property
    def size(self) -> Size:
        """Bytes of its elements, and so of its gradient."""
        return times(self.elements, self.bytes)


class Weight(NamedTuple):
    """A trained parameter as one product uses it."""

    elements: int
    operand: int
    """Bytes an element of the gradient as the product gives it."""
    stored: int
    """Bytes an element of the parameter and its final gradient."""

    @property
    def fresh(self) -> Size:
        """Its gradient as the product gives it."""
        return 0, self.elements * self.operand, 0

    @property
    def final(self) -> Size:
        """Its gradient in the parameter's dtype."""
        return 0, self.elements * self.stored, 0


class Node(NamedTuple):
    """What backward does for one op."""

    outputs: tuple[Value, ...]
    inputs: tuple[tuple[Value, bool], ...]
    """Inputs with a gradient; True: the incoming gradient itself is passed on."""
    saved: tuple[Storage, ...]
    work: Size
    """Bytes for the time of the op, in backward."""
    weights: tuple[Weight, ...]


class Tape:
    """Records forward, then plays backward."""

    def __init__(self) -> None:
        self.level: Size = ZERO
        self.levels: list[Size] = []
        """Every level after something was taken."""
        self.nodes: list[Node] = []
        self.last_save = 0
        """Number of levels when something was saved for the last time."""

    def _take(self, size: Size) -> None:
        now = self.level
        self.level = (now[0] + size[0], now[1] + size[1], now[2] + size[2])
        self.levels.append(self.level)

    def _give(self, size: Size) -> None:
        now = self.level
        self.level = (now[0] - size[0], now[1] - size[1], now[2] - size[2])

    def _release(self, storage: Storage) -> None:
        storage.holders -= 1
        if storage.holders == 0:
            self._give(storage.size)

    def new(self, elements: Size, bytes: int, *, needs: bool = True) -> Value:
        """A fresh tensor, held by one local variable."""
        storage = Storage(times(elements, bytes))
        self._take(storage.size)
        return Value(storage, elements, bytes, needs=needs)

    def outside(self, elements: Size, bytes: int, *, needs: bool = True) -> Value:
        """A tensor whose bytes are counted elsewhere."""
        return Value(Storage(ZERO), elements, bytes, needs=needs)

    def drop(self, *values: Value) -> None:
        """Local variables go."""
        for value in values:
            self._release(value.storage)

    def work(self, size: Size) -> None:
        """Bytes for a moment."""
        self._take(size)
        self._give(size)

    def view(self, value: Value, elements: Size | None = None) -> Value:
        """A tensor on the same storage, held by a variable of its own."""
        value.storage.holders += 1
        seen = Value(value.storage, elements or value.elements, value.bytes, needs=value.needs)
        self.record((seen,), ((value, elements is None),))
        return seen

    def split(self, value: Value, elements: Sequence[Size]) -> tuple[Value, ...]:
        """Views of the parts of a tensor; their gradients are joined in one tensor."""
        value.storage.holders += len(elements)
        parts = tuple(
            Value(value.storage, size, value.bytes, needs=value.needs) for size in elements
        )
        self.record(parts, ((value, False),))
        return parts

    def op(
        self,
        inputs: Sequence[Value],
        elements: Size,
        bytes: int,
        *,
        saves: Sequence[Value | None] = (),
        passes: bool = False,
        work: Size = ZERO,
        weights: tuple[Weight, ...] = (),
    ) -> Value:
        """An op with a fresh result; ``saves`` (None: the result) stay for backward.

        ``passes``: inputs get the incoming gradient itself. ``work``: bytes backward takes for the
        op's time. ``weights`` get gradients too.
        """
        needs = bool(weights) or any(value.needs for value in inputs)
        before = len(self.levels)
        result = self.new(elements, bytes, needs=needs)
        if needs:
            self.record(
                (result,),
                tuple((value, passes and value.bytes == bytes) for value in inputs if value.needs),
                saves=[result if value is None else value for value in saves],
                work=work,
                weights=weights,
            )
            if saves and None not in saves:
                self.last_save = before  # inputs are saved before the result is there
        return result

    def record(
        self,
        outputs: tuple[Value, ...],
        inputs: tuple[tuple[Value, bool], ...],
        *,
        saves: Sequence[Value] = (),
        work: Size = ZERO,
        weights: tuple[Weight, ...] = (),
    ) -> None:
        """Note a node for backward."""
        for value in saves:
            value.storage.holders += 1
        if saves:
            self.last_save = len(self.levels)
        given = tuple(item for item in inputs if item[0].needs)
        saved = tuple(value.storage for value in saves)
        self.nodes.append(Node(outputs, given, saved, work, weights))

    def keep(self, value: Value) -> None:
        """A tensor that stays until backward has ended."""
        value.storage.holders += 1
        self.nodes.insert(0, Node((), (), (value.storage,), ZERO, ()))

    def saved(self) -> tuple[Size, ...]:
        """Sizes of the tensors that backward needs, once all local variables are gone."""
        found = {id(storage): storage.size for node in self.nodes for storage in node.saved}
        return tuple(size for size in found.values() if size != ZERO)

    def kept(self) -> Size:
        """Their sum."""
        total = ZERO
        for size in self.saved():
            total = _sum(total, size)
        return total

    def backward(self, output: Value, *, accumulates: bool, recomputed: bool) -> list[Size]:
        """Levels of backward above what was there before the block, its own kept bytes included.

        ``recomputed``: the block runs again when the first saved tensor is asked for, up to the
        last one it saved, with the gradients so far waiting. ``accumulates``: gradients of
        parameters are there already.
        """
        forward, own = self.levels[: self.last_save], self.kept()
        self._hold_saved_only()
        self.levels, self.level = [], ZERO if recomputed else own
        gradient = Storage(output.size)
        self._take(gradient.size)
        found = {id(output): gradient}
        waiting = recomputed
        for node in reversed(self.nodes):
            if waiting and node.saved and any(id(value) in found for value in node.outputs):
                base, waiting = self.level, False
                self.levels += [_sum(base, level) for level in forward]
                self.level = _sum(base, own)
                self.levels.append(self.level)
            self._play(node, found, accumulates=accumulates)
        return self.levels

    def _hold_saved_only(self) -> None:
        """Local variables are gone: only what backward needs holds its storage."""
        for node in self.nodes:
            for storage in node.saved:
                storage.holders = 0
        for node in self.nodes:
            for storage in node.saved:
                storage.holders += 1

    def _play(self, node: Node, found: dict[int, Storage], *, accumulates: bool) -> None:
        """Run one node: gradients in, gradients out, saved tensors back."""
        incoming = [found.pop(id(value)) for value in node.outputs if id(value) in found]
        if incoming:
            self._take(node.work)
            self._pass_on(node, incoming[0], found)
            for weight in node.weights:
                self._take(weight.fresh)
            self._give(node.work)
        for storage in incoming:
            self._release(storage)
        for storage in node.saved:
            self._release(storage)
        if incoming:
            self._finish(node.weights, accumulates=accumulates)

    def _pass_on(self, node: Node, incoming: Storage, found: dict[int, Storage]) -> None:
        """Gradients of a node's inputs."""
        for value, passed in node.inputs:
            if passed:
                gradient = incoming
                gradient.holders += 1
            else:
                gradient = Storage(value.size)
                self._take(gradient.size)
            self._add(found, id(value), gradient)

    def _finish(self, weights: tuple[Weight, ...], *, accumulates: bool) -> None:
        """Gradients of parameters: cast to their dtype, added to what is there already."""
        for weight in weights:
            if weight.stored != weight.operand:
                self._take(weight.final)
                self._give(weight.fresh)
            if accumulates:
                self._give(weight.final)

    def _add(self, found: dict[int, Storage], key: int, gradient: Storage) -> None:
        """A value's gradient, or one more part of it."""
        earlier = found.get(key)
        if earlier is None:
            found[key] = gradient
        elif earlier.holders == 1:
            self._release(gradient)
        else:
            total = Storage(gradient.size)
            self._take(total.size)
            found[key] = total
            self._release(earlier)
            self._release(gradient)
