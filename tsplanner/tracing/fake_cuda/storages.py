"""Lifetimes of storages: the allocations and frees of a trace, in order.

The allocator of a GPU sees only the birth and the death of a storage. The storage's Python object
lives as long as its memory, so a weak reference reports the death.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from torch import Tensor

from memory_models.allocator.caching_allocator import Event


class Phase(StrEnum):
    """Phases of a training run."""

    LOAD = "load"
    FORWARD = "forward"
    BACKWARD = "backward"
    STEP = "step"


class Kind(StrEnum):
    """Purposes of a storage."""

    WEIGHTS = "base weights"
    ADAPTERS = "adapters"
    STATES = "optimizer states"
    GRADIENTS = "gradients"
    INPUTS = "inputs"
    WORKSPACE = "cuBLAS workspace"
    FORWARD = "activations"
    BACKWARD = "backward's tensors"
    STEP = "optimizer step"


_KIND_OF_PHASE = {
    Phase.LOAD: Kind.WEIGHTS,
    Phase.FORWARD: Kind.FORWARD,
    Phase.BACKWARD: Kind.BACKWARD,
    Phase.STEP: Kind.STEP,
}


@dataclass(slots=True)
class TracedStorage:
    """One piece of memory, dead or alive."""

    bytes: int
    origin: str
    """Operator that made the storage, and shape and dtype of its first tensor."""
    phase: Phase
    kind: Kind | None = None
    """None: the kind follows from the phase."""

    @property
    def label(self) -> Kind:
        """The kind that was given, or the kind of the phase."""
        return self.kind or _KIND_OF_PHASE[self.phase]


@dataclass(slots=True)
class StorageLog:
    """All storages of a trace and the order of their births and deaths."""

    known: list[TracedStorage] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    phase: Phase = Phase.LOAD
    _alive: dict[int, tuple[int, Any]] = field(default_factory=dict)
    """Address of a storage -> (number of the storage, weak reference to the storage)."""
    _new_address: int = 0
    """Address of the storage that was born last."""
    _candidate: tuple[int, int] | None = None
    """(new, old): the sum of two gradients, and the gradient that a real run would add to."""

    def number_of(self, tensor: Tensor) -> int | None:
        """Number of a tensor's storage; None if the log does not follow the storage."""
        found = self._alive.get(tensor.untyped_storage()._cdata)
        return found[0] if found else None

    def follow(self, tensor: Tensor, origin: str = "", kind: Kind | None = None) -> int | None:
        """Note the birth of a tensor's storage; returns its number, None for a known storage."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        size = storage.nbytes()
        if address in self._alive or not size:
            return None
        number = len(self.known)
        shape = f"{origin} {tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "")
        self.known.append(TracedStorage(size, shape, self.phase, kind))
        self._alive[address] = (number, weakref.ref(storage, lambda _: self._died(address)))
        self._new_address = address
        self._candidate = None
        self.events.append((number, size))
        return number

    def take_forever(self, size: int, kind: Kind) -> None:
        """Note an allocation that no tensor owns and that is never freed."""
        if size:
            self._candidate = None
            self.events.append((len(self.known), size))
            self.known.append(TracedStorage(size, "", self.phase, kind))

    def take(self, sizes: Iterable[int], origin: str) -> list[int]:
        """Note allocations of a kernel while it runs; returns the numbers for ``give_back``."""
        self._candidate = None
        taken = []
        for size in sizes:
            taken.append(len(self.known))
            self.events.append((taken[-1], size))
            self.known.append(TracedStorage(size, origin, self.phase))
        return taken

    def give_back(self, taken: list[int]) -> None:
        """Note that a kernel frees its allocations."""
        self.events += [(number, 0) for number in taken]

    def _died(self, address: int) -> None:
        number, _ = self._alive.pop(address)
        candidate, self._candidate = self._candidate, None
        if candidate is not None and candidate[1] == number:
            self._added_in_place(number)
            return
        self.events.append((number, 0))

    def may_add_in_place(self, total: Tensor, summand: Tensor) -> None:
        """Note that ``total`` was just made by adding to ``summand``, with gradients off.

        Autograd adds gradients in place if it holds the last reference (the base of a view counts
        as one), but never for a tensor subclass such as ours. If ``summand`` dies before any other
        event, autograd held the last reference, and a real run would have added in place.
        Source: torch/csrc/autograd/input_buffer.cpp (can_accumulate_inplace).
        """
        new, old = self.number_of(total), self.number_of(summand)
        if new is None or old is None or new == old or not self.events:
            return
        same_size = self.known[new].bytes == self.known[old].bytes
        if same_size and self.events[-1] == (new, self.known[new].bytes):
            self._candidate = (new, old)

    def _added_in_place(self, old: int) -> None:
        """Give the sum the memory of its summand."""
        # A real run would have had neither the birth of the sum nor the death of its summand.
        self.events.pop()
        _, reference = self._alive[self._new_address]
        self._alive[self._new_address] = (old, reference)

    def name(self, tensors: Iterable[Tensor], kind: Kind) -> None:
        """Set the kind of the storages of some tensors."""
        for tensor in tensors:
            number = self.number_of(tensor)
            if number is not None:
                self.known[number].kind = kind

    def name_survivors(self, kind: Kind) -> None:
        """Set the kind of the storages that a step made and that are alive after the step."""
        for number, _ in self._alive.values():
            storage = self.known[number]
            if storage.phase is not Phase.LOAD and storage.kind is None:
                storage.kind = kind

    def alive_bytes(self) -> int:
        """Bytes of all storages that are alive."""
        return sum(size or -self.known[number].bytes for number, size in self.events)
