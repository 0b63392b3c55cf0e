"""Symbolic sizes, and the values, weights and nodes that a tape is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Size(NamedTuple):
    """Bytes, or elements, as a linear function of the tokens and of one more unit."""

    per_token: int = 0
    constant: int = 0
    per_unit: int = 0
    """Share per third unit. In a decoder layer the unit is one attention score of one head (B x S x
    S units); in the fused loss the unit is one row of the loss's chunk."""


ZERO = Size()

ALLOC, FREE = 1, -1
Event = tuple[int, Size]
"""``ALLOC`` or ``FREE``, and the size of the tensor."""
WORKSPACE: Event = (0, ZERO)
"""The thread of backward multiplies for the first time: cuBLAS allocates a workspace for good."""


def times(size: Size, factor: int) -> Size:
    """A multiple of a size."""
    per_token, constant, per_unit = size
    return Size(per_token * factor, constant * factor, per_unit * factor)


def total(sizes: Iterable[Size]) -> Size:
    """The sum of sizes."""
    per_token = constant = per_unit = 0
    for size in sizes:
        per_token += size.per_token
        constant += size.constant
        per_unit += size.per_unit
    return Size(per_token, constant, per_unit)


def left_over(events: Iterable[Event], saved: Iterable[Size]) -> list[Event]:
    """The frees (and allocations) that leave only what is saved, after ``events``."""
    live: Counter[Size] = Counter()
    for sign, size in events:
        live[size] += sign
    live.subtract(Counter(saved))
    return [
        (FREE if count > 0 else ALLOC, size)
        for size, count in live.items()
        for _ in range(abs(count))
        if size != ZERO
    ]


class Storage:
    """Memory, with the number of variables, nodes and gradients that hold it."""

    __slots__ = ("holders", "size", "viewed")

    def __init__(self, size: Size, *, viewed: bool = False) -> None:
        self.size = size
        self.holders = 1
        self.viewed = viewed
        """Only views of the tensor are handed on, so that nothing is added to it in place."""


class Value:
    """A tensor: its storage, its elements, the bytes per element, and whether it needs a gradient.

    Several values may share one storage: a view has fewer elements than its storage holds.
    """

    __slots__ = ("bytes", "elements", "needs", "storage")

    def __init__(self, storage: Storage, elements: Size, bytes: int, *, needs: bool) -> None:
        self.storage = storage
        self.elements = elements
        self.bytes = bytes
        self.needs = needs

    @property
    def size(self) -> Size:
        """Bytes of the value's elements, and of the value's gradient."""
        return times(self.elements, self.bytes)


class Weight(NamedTuple):
    """A trained parameter as one product uses it."""

    elements: int
    operand: int
    """Bytes per element of the gradient that the product returns."""
    stored: int
    """Bytes per element of the parameter and of its final gradient."""

    @property
    def fresh(self) -> Size:
        """Bytes of the gradient that the product returns."""
        return Size(constant=self.elements * self.operand)

    @property
    def final(self) -> Size:
        """Bytes of the gradient in the parameter's dtype."""
        return Size(constant=self.elements * self.stored)


class Node(NamedTuple):
    """One op as backward sees it."""

    outputs: tuple[Value, ...]
    inputs: tuple[tuple[Value, bool | Storage], ...]
    """Inputs that need a gradient, and where it stands: True in the incoming gradient's tensor,
    False in a fresh one, or in a saved tensor, which backward overwrites."""
    saved: tuple[Storage, ...]
    work: Size
    """Bytes that the op's backward holds while it runs."""
    weights: tuple[Weight, ...]
    folds: bool = False
    """The op folds its input's rows into a matrix, so that the input's gradient is a view."""
