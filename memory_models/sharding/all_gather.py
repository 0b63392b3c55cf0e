"""Parameters that ZeRO-3 has gathered, by the rules of DeepSpeed's own coordinator.

The modules of a step form a trace: forward, then backward with recomputed layers. Before a module
runs, the coordinator gathers the module's parameters, then prefetches those of the next modules
until ``max_live_parameters`` elements are available. After the module it releases the parameters,
unless a module within the reuse distance needs them again. Names here are DeepSpeed's own.
Source: deepspeed runtime/zero/partitioned_param_coordinator.py; partition_parameters.py
(``all_gather_coalesced`` gathers several parameters into one flat buffer and copies them out).
Ignores: the first micro-batch, in which DeepSpeed records the trace and gathers less.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from memory_models.architecture import Architecture, Linear
from memory_models.settings import LayerSettings, TrainingSettings
from memory_models.sharding.deepspeed_config import (
    live_elements,
    persistent_elements,
    prefetch_elements,
)
from memory_models.states.adapters import is_targeted
from memory_models.states.storage import BYTES
from memory_models.states.weights import embedding_parameters, is_quantized, packed_bytes

TRACED_LAYERS = 6
"""Layers of the trace: two at either end differ from those in the middle."""
ROUNDS = 2
"""Fetches per visited module: a module without parameters (an activation) prefetches too."""


class Parameter(NamedTuple):
    """A partitioned parameter: its number, its elements, and the bytes of the whole parameter."""

    number: int
    elements: int
    bytes: int


class Visit(NamedTuple):
    """A module that runs: its parameter, and the phase of the step."""

    parameter: Parameter
    phase: str
    within: int = 0
    """Number of later visits that begin and end during this one: the recomputation of its layer."""
    frozen: tuple[Parameter, ...] = ()
    """Frozen parameters that are released with this one: backward does not reuse them."""


class GatheredPeaks(NamedTuple):
    """Peak bytes of gathered parameters at each phase of a step, on one process."""

    forward: int = 0
    loss: int = 0
    """Forward and backward of the loss: the fused loss runs as the lm_head's own forward."""
    last: int = 0
    first: int = 0
    end: int = 0


@lru_cache(maxsize=1024)
def gathered_peaks(architecture: Architecture, layer: LayerSettings) -> GatheredPeaks:
    """Peaks of gathered parameters in one step, for any length, batch and number of processes."""
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
    """The modules in the order of a step."""
    layers, outer, head = _parameters(architecture, layer)
    yield Visit(outer, "begin")
    for parameters in layers:
        name = "forward" if parameters is layers[-1] else "begin"
        for parameter in parameters:
            yield Visit(parameter, name)
    # Forward and backward of the lm_head follow each other, with nothing in between.
    yield Visit(head, "loss")
    yield Visit(head, "loss")
    last, early = len(layers) - 1, _early(architecture, layer)
    for place in range(last, -1, -1):
        name = {last: "last", 0: "first"}.get(place, "middle")
        yield from _backward(layers[place], name, layer, early)
    if layer.method.trains_everything or layer.checkpointed:
        yield Visit(outer, "end")


def _backward(
    parameters: list[Parameter], name: str, layer: LayerSettings, early: int
) -> Iterator[Visit]:
    """One layer's backward; DeepSpeed fetches ``early`` parameters before the recomputation."""
    if not layer.checkpointed:
        for parameter in reversed(parameters):
            yield Visit(parameter, name)
        return
    # Under checkpointing the backward hook of a module runs before its recomputation. The module's
    # visit therefore lasts as long as the forward of the whole layer.
    frozen = tuple(parameters) if layer.method.uses_adapter else ()
    yield Visit(parameters[-1], name, within=len(parameters) + early - 1, frozen=frozen)
    if early > 1:
        yield Visit(parameters[-2], name)
    yield from (Visit(parameter, name) for parameter in parameters)
    yield from (Visit(parameter, name) for parameter in reversed(parameters[:-1]))


def _early(architecture: Architecture, layer: LayerSettings) -> int:
    """Number of parameters of a layer's last module that are fetched before the layer runs again.

    In a logged run DeepSpeed fetched both sides of the last adapter.
    """
    linear, smallest = architecture.layer.linears[-1], persistent_elements(architecture)
    sides = (linear.in_features, linear.out_features)
    both = all(layer.method.adapter_rank * side > smallest for side in sides)
    return 2 if both and is_targeted(linear, layer.method) else 1


def _parameters(
    architecture: Architecture, layer: LayerSettings
) -> tuple[list[list[Parameter]], Parameter, Parameter]:
    """Partitioned parameters of the layers, the embedding and the lm_head."""
    smallest, element = persistent_elements(architecture), BYTES[layer.arithmetic.base.model_dtype]
    layers: list[list[Parameter]] = []
    # Number 0 is the embedding and number 1 an untied lm_head.
    number = 2
    for _ in range(min(TRACED_LAYERS, architecture.num_hidden_layers)):
        parameters = []
        for elements, size in layer_tensors(architecture, layer, element):
            if elements > smallest:
                parameters.append(Parameter(number, elements, size))
                number += 1
        if parameters:
            layers.append(parameters)
    elements = embedding_parameters(architecture)
    embedding = Parameter(0, elements, elements * element)
    # A tied lm_head is the embedding's own parameter, so both visits share its number.
    tied = architecture.vocabulary.tie_word_embeddings
    return layers, embedding, embedding if tied else embedding._replace(number=1)


def layer_tensors(
    architecture: Architecture, layer: LayerSettings, element: int
) -> Iterator[tuple[int, int]]:
    """Elements and bytes of the matrices of one layer, each adapter after the linear it adapts."""
    for linear in architecture.layer.linears:
        yield _matrix(linear, layer, element)
        if is_targeted(linear, layer.method):
            for side in (linear.in_features, linear.out_features):
                elements = layer.method.adapter_rank * side
                yield elements, elements * element


def _matrix(linear: Linear, layer: LayerSettings, element: int) -> tuple[int, int]:
    """Elements and bytes of a matrix; an element of a quantised matrix is one byte of it."""
    if is_quantized(linear, layer.arithmetic.base.quantization):
        packed = packed_bytes(linear, layer.arithmetic.base.quantization)
        return packed, packed
    return linear.weight_count, linear.weight_count * element


class _Coordinator:
    """DeepSpeed's ``PartitionedParameterCoordinator`` once its trace is complete."""

    def __init__(self, architecture: Architecture, trace: tuple[Visit, ...]) -> None:
        self.trace = trace
        self.max_live_parameters = live_elements(architecture)
        self.prefetch_bucket_elements = prefetch_elements(architecture)
        self.prefetch_position = 0
        """Step of the trace up to which parameters were requested."""
        self.available_elements = self.available_bytes = 0
        """Elements that are available or in flight, and their bytes."""
        self.available: set[int] = set()
        self.inflight: dict[int, tuple[Parameter, ...]] = {}
        self.last_requested_step: dict[int, int] = {}
        """Last step of the trace that each parameter was requested for."""
        self.active_parameter: int | None = None
        """A parameter in use during the recomputation of its layer."""
        self.peaks: dict[str, int] = {}

    def run(self) -> dict[str, int]:
        """Peak bytes by phase."""
        waiting: list[tuple[int, Visit]] = []
        for place, visit in enumerate(self.trace):
            self._fetch_module(place, visit)
            if visit.within:
                self.active_parameter = visit.parameter.number
                waiting.append((place + visit.within, visit))
                continue
            self._release_module(place + 1, visit.parameter)
            if waiting and waiting[-1][0] == place:
                self._finish(place + 1, waiting.pop()[1])
        return self.peaks

    def _finish(self, place: int, visit: Visit) -> None:
        """The module whose backward waited for the recomputation has ended."""
        self.active_parameter = None
        self._release_module(place, visit.parameter)
        for parameter in visit.frozen:
            self._release_parameter(parameter)

    def _record_peak(self, phase: str, extra: int = 0) -> None:
        self.peaks[phase] = max(self.peaks.get(phase, 0), self.available_bytes + extra)

    def _all_gather(self, group: tuple[Parameter, ...]) -> None:
        for parameter in group:
            # DeepSpeed counts a parameter as available as soon as its all-gather is launched.
            self.inflight[parameter.number] = group
            self.available_elements += parameter.elements
            self.available_bytes += parameter.bytes

    def _wait(self, number: int, phase: str) -> None:
        """Wait for a group; several parameters arrive in a flat buffer and are copied out."""
        group = self.inflight[number]
        copies = sum(parameter.bytes for parameter in group) if len(group) > 1 else 0
        self._record_peak(phase, copies)
        for parameter in group:
            del self.inflight[parameter.number]
            self.available.add(parameter.number)

    def _fetch_module(self, place: int, visit: Visit) -> None:
        number = visit.parameter.number
        if number not in self.available and number not in self.inflight:
            self._all_gather((visit.parameter,))
        if number in self.inflight:
            self._wait(number, visit.phase)
        # A parameter that was not prefetched moves the prefetch position behind its own module.
        if self.last_requested_step.get(number, -1) < place:
            self.prefetch_position = place + 1
            self.last_requested_step[number] = place
        for _ in range(ROUNDS):
            self._prefetch()
        self._record_peak(visit.phase)

    def _prefetch(self) -> None:
        """Request one bucket of parameters; the last parameter may exceed the bucket."""
        # The limit is checked before a parameter is added, so the last one may exceed it.
        live_room = self.max_live_parameters - self.available_elements
        room, total = min(live_room, self.prefetch_bucket_elements), 0
        group: list[Parameter] = []
        while self.prefetch_position < len(self.trace) and total < room:
            parameter = self.trace[self.prefetch_position].parameter
            self.last_requested_step[parameter.number] = self.prefetch_position
            self.prefetch_position += 1
            known = parameter.number in self.available or parameter.number in self.inflight
            if not known and parameter not in group:
                group.append(parameter)
                total += parameter.elements
        if group:
            self._all_gather(tuple(group))

    def _release_module(self, place: int, parameter: Parameter) -> None:
        """Release a parameter, unless it is requested for a later step or reused soon."""
        number = parameter.number
        if self.last_requested_step.get(number, -1) >= place:
            return
        # ``max_reuse_distance`` has the same value as ``max_live_parameters`` in our configuration.
        passed = 0
        for visit in self.trace[place:]:
            if passed >= self.max_live_parameters:
                break
            if visit.parameter.number == number:
                return
            passed += visit.parameter.elements
        self._release_parameter(parameter)

    def _release_parameter(self, parameter: Parameter) -> None:
        if parameter.number in self.available and parameter.number != self.active_parameter:
            self.available.discard(parameter.number)
            self.available_elements -= parameter.elements
            self.available_bytes -= parameter.bytes


def layer_parameter_bytes(architecture: Architecture, settings: TrainingSettings) -> Iterator[int]:
    """Bytes of the partitioned parameters of one layer, one after the other."""
    smallest = persistent_elements(architecture)
    element = BYTES[settings.base.model_dtype]
    for elements, size in layer_tensors(architecture, settings.layer, element):
        if elements > smallest:
            yield size
