"""Parameters that ZeRO-3 holds gathered, by the rules of DeepSpeed's own coordinator.

The modules of a step form a trace: forward, then backward with blocks recomputed. Where a module
is due its parameters are gathered, then those of the next ones as long as fewer than a limit are;
where it is done they go, unless they are due again within as many elements.
Source: deepspeed runtime/zero/partitioned_param_coordinator.py; partition_parameters.py
(``all_gather_coalesced`` gathers several parameters flat and copies them apart).
Ignores: the first micro-batch, which only records the trace and gathers less.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from memory_models.architecture import Architecture, Linear
from memory_models.settings import LayerSettings
from memory_models.sharding.deepspeed_config import (
    live_elements,
    persistent_elements,
    prefetch_elements,
)
from memory_models.states.adapters import is_targeted
from memory_models.states.storage import BYTES
from memory_models.states.weights import embedding_parameters, is_quantized, packed_bytes

TRACED_LAYERS = 6
"""Blocks of the trace: two at either end differ from those in the middle."""
ROUNDS = 2
"""Modules without parameters beside each one with some: they fetch ahead, too."""


class Parameter(NamedTuple):
    """A sharded parameter: which, its elements, and the bytes of it whole."""

    number: int
    elements: int
    bytes: int


class Visit(NamedTuple):
    """A module at work: its parameter, and at which instant of the step."""

    parameter: Parameter
    instant: str
    within: int = 0
    """Visits that begin and end while this one lasts: the block recomputed for its backward."""
    frozen: tuple[Parameter, ...] = ()
    """Parameters that go with it: frozen ones are not kept from recomputation for backward."""


class GatheredPeaks(NamedTuple):
    """Most bytes gathered at each instant of a step, on one rank."""

    forward: int = 0
    loss: int = 0
    """Forward and backward: the fused loss runs as the head's own forward, too."""
    last: int = 0
    first: int = 0
    end: int = 0


@lru_cache(maxsize=1024)
def gathered_peaks(architecture: Architecture, layer: LayerSettings) -> GatheredPeaks:
    """What a step has gathered; ``layer``: settings with lengths, batches and ranks left out."""
    coordinator = _Coordinator(architecture, tuple(_trace(architecture, layer)))
    found = coordinator.run()
    return GatheredPeaks(
        forward=found.get("forward", 0),
        loss=found.get("loss", 0),
        last=found.get("last", 0),
        first=found.get("first", 0),
        end=found.get("end", 0),
    )


def _trace(architecture: Architecture, layer: LayerSettings) -> Iterator[Visit]:
    """Modules in the order of a step."""
    blocks, outer, head = _parameters(architecture, layer)
    yield Visit(outer, "begin")
    for block in blocks:
        name = "forward" if block is blocks[-1] else "begin"
        for parameter in block:
            yield Visit(parameter, name)
    yield Visit(head, "loss")
    yield Visit(head, "loss")
    last, early = len(blocks) - 1, _early(architecture, layer)
    for place in range(last, -1, -1):
        name = {last: "last", 0: "first"}.get(place, "middle")
        yield from _backward(blocks[place], name, layer, early)
    if layer.method.trains_everything or layer.checkpointed:
        yield Visit(outer, "end")


def _backward(
    block: list[Parameter], name: str, layer: LayerSettings, early: int
) -> Iterator[Visit]:
    """A block's backward; of its last module ``early`` parameters are there as it runs again."""
    if not layer.checkpointed:
        for parameter in reversed(block):
            yield Visit(parameter, name)
        return
    frozen = tuple(block) if layer.method.uses_adapter else ()
    yield Visit(block[-1], name, within=len(block) + early - 1, frozen=frozen)
    if early > 1:
        yield Visit(block[-2], name)
    yield from (Visit(parameter, name) for parameter in block)
    yield from (Visit(parameter, name) for parameter in reversed(block[:-1]))


def _early(architecture: Architecture, layer: LayerSettings) -> int:
    """Sharded parameters that are asked for before a block runs again: those of its last module.

    A logged run asks for both sides of a last adapter.
    """
    linear, smallest = architecture.layer.linears[-1], persistent_elements(architecture)
    sides = (linear.in_features, linear.out_features)
    both = all(layer.method.adapter_rank * side > smallest for side in sides)
    return 2 if both and is_targeted(linear, layer.method) else 1


def _parameters(
    architecture: Architecture, layer: LayerSettings
) -> tuple[list[list[Parameter]], Parameter, Parameter]:
    """Parameters of the blocks, the embedding and the head; those that stay whole are left out."""
    smallest, element = persistent_elements(architecture), BYTES[layer.arithmetic.base.model_dtype]
    blocks: list[list[Parameter]] = []
    number = 2
    for _ in range(min(TRACED_LAYERS, architecture.num_hidden_layers)):
        block = []
        for elements, size in layer_tensors(architecture, layer, element):
            if elements > smallest:
                block.append(Parameter(number, elements, size))
                number += 1
        if block:
            blocks.append(block)
    elements = embedding_parameters(architecture)
    embedding = Parameter(0, elements, elements * element)
    tied = architecture.vocabulary.tie_word_embeddings
    return blocks, embedding, embedding if tied else embedding._replace(number=1)


def layer_tensors(
    architecture: Architecture, layer: LayerSettings, element: int
) -> Iterator[tuple[int, int]]:
    """Elements and bytes of one block's matrices, adapters behind what they sit on."""
    for linear in architecture.layer.linears:
        yield _matrix(linear, layer, element)
        if is_targeted(linear, layer.method):
            for side in (linear.in_features, linear.out_features):
                elements = layer.method.adapter_rank * side
                yield elements, elements * element


def _matrix(linear: Linear, layer: LayerSettings, element: int) -> tuple[int, int]:
    """A matrix; a byte of a quantised one, two 4-bit numbers, is an element of it."""
    if is_quantized(linear, layer.arithmetic.base.quantization):
        packed = packed_bytes(linear, layer.arithmetic.base.quantization)
        return packed, packed
    return linear.weight_count, linear.weight_count * element


class _Coordinator:
    """DeepSpeed's ``PartitionedParameterCoordinator`` once its trace is complete."""

    def __init__(self, architecture: Architecture, trace: tuple[Visit, ...]) -> None:
        self.trace = trace
        self.limit = live_elements(architecture)
        self.bucket = prefetch_elements(architecture)
        self.queue = 0
        """Place in the trace up to which parameters were asked for."""
        self.counted = self.bytes = 0
        """Elements gathered or on their way, and their bytes."""
        self.there: set[int] = set()
        self.coming: dict[int, tuple[Parameter, ...]] = {}
        self.asked_for: dict[int, int] = {}
        """Place of the last use that a parameter was asked for."""
        self.active: int | None = None
        """A parameter that is at work all the while."""
        self.most: dict[str, int] = {}

    def run(self) -> dict[str, int]:
        """Most bytes by instant."""
        waiting: list[tuple[int, Visit]] = []
        for place, visit in enumerate(self.trace):
            self._fetch(place, visit)
            if visit.within:
                self.active = visit.parameter.number
                waiting.append((place + visit.within, visit))
                continue
            self._release(place + 1, visit.parameter)
            if waiting and waiting[-1][0] == place:
                self._finish(place + 1, waiting.pop()[1])
        return self.most

    def _finish(self, place: int, visit: Visit) -> None:
        """A module that the block was recomputed for is done."""
        self.active = None
        self._release(place, visit.parameter)
        for parameter in visit.frozen:
            self._drop(parameter)

    def _note(self, instant: str, extra: int = 0) -> None:
        self.most[instant] = max(self.most.get(instant, 0), self.bytes + extra)

    def _gather(self, group: tuple[Parameter, ...]) -> None:
        for parameter in group:
            self.coming[parameter.number] = group
            self.counted += parameter.elements
            self.bytes += parameter.bytes

    def _arrive(self, number: int, instant: str) -> None:
        """A group is there; several parameters were gathered flat and are copied apart."""
        group = self.coming[number]
        copies = sum(parameter.bytes for parameter in group) if len(group) > 1 else 0
        self._note(instant, copies)
        for parameter in group:
            del self.coming[parameter.number]
            self.there.add(parameter.number)

    def _fetch(self, place: int, visit: Visit) -> None:
        number = visit.parameter.number
        if number not in self.there and number not in self.coming:
            self._gather((visit.parameter,))
        if number in self.coming:
            self._arrive(number, visit.instant)
        if self.asked_for.get(number, -1) < place:
            self.queue = place + 1
            self.asked_for[number] = place
        for _ in range(ROUNDS):
            self._fetch_ahead()
        self._note(visit.instant)

    def _fetch_ahead(self) -> None:
        """One bucket of parameters, the last of which may exceed it."""
        room, total = min(self.limit - self.counted, self.bucket), 0
        group: list[Parameter] = []
        while self.queue < len(self.trace) and total < room:
            parameter = self.trace[self.queue].parameter
            self.asked_for[parameter.number] = self.queue
            self.queue += 1
            known = parameter.number in self.there or parameter.number in self.coming
            if not known and parameter not in group:
                group.append(parameter)
                total += parameter.elements
        if group:
            self._gather(tuple(group))

    def _release(self, place: int, parameter: Parameter) -> None:
        """A parameter goes unless it is due again soon, or is counted on to be there."""
        number = parameter.number
        if self.asked_for.get(number, -1) >= place:
            return
        passed = 0
        for visit in self.trace[place:]:
            if passed >= self.limit:
                break
            if visit.parameter.number == number:
                return
            passed += visit.parameter.elements
        self._drop(parameter)

    def _drop(self, parameter: Parameter) -> None:
        if parameter.number in self.there and parameter.number != self.active:
            self.there.discard(parameter.number)
            self.counted -= parameter.elements
            self.bytes -= parameter.bytes
