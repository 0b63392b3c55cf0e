"""The modules of a step under ZeRO-3 in the order in which they need their parameters.

Several layers stand for all. Names here are DeepSpeed's own.
Source: deepspeed runtime/zero/partitioned_param_coordinator.py and parameter_offload.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from memory_models.architecture import Architecture, Linear
from memory_models.settings import LayerSettings, Quantization
from memory_models.sharding.deepspeed_config import LIVE_LAYERS, Limits, layer_elements
from memory_models.states.adapters import is_targeted
from memory_models.states.expert_adapters import adapted_experts, adapter_rows
from memory_models.states.storage import BYTES
from memory_models.states.weights import (
    embedding_parameters,
    is_quantized,
    packed_bytes,
)

TRACED_LAYERS = 6
"""Layers of the trace: two at either end differ from those in the middle, which hold two more."""
MOST_TRACED_LAYERS = 32
"""With larger limits the trace has as many layers as may be gathered, up to this number."""


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


def traced_layers(
    architecture: Architecture, allowed: Limits, quantization: Quantization | None = None
) -> int:
    """Number of layers of the trace: enough for what may be gathered at once."""
    reach = max(allowed.live, allowed.prefetch) // max(
        1, layer_elements(architecture, quantization)
    )
    most = min(MOST_TRACED_LAYERS, TRACED_LAYERS + max(0, reach - LIVE_LAYERS))
    return min(architecture.num_hidden_layers, most)


def untraced_bytes(architecture: Architecture, layer: LayerSettings, allowed: Limits) -> int:
    """Bytes of layers beyond the trace that may be gathered with those of the trace."""
    stored = layer.arithmetic.base.quantization
    if traced_layers(architecture, allowed, stored) < MOST_TRACED_LAYERS:
        return 0
    layers, _, _ = _parameters(architecture, layer, allowed)
    if not layers:
        return 0
    one = sum(parameter.elements for parameter in layers[0])
    bytes_each = sum(parameter.bytes for parameter in layers[0]) / one
    untraced = (architecture.num_hidden_layers - len(layers)) * one
    return int(bytes_each * max(0, min(untraced, allowed.live - len(layers) * one)))


def trace_of(architecture: Architecture, layer: LayerSettings, allowed: Limits) -> Iterator[Visit]:
    """The modules in the order of a step."""
    layers, outer, head = _parameters(architecture, layer, allowed)
    early = _early(architecture, layer, allowed)
    yield Visit(outer, "begin")
    for parameters in layers:
        name = "forward" if parameters is layers[-1] else "begin"
        for parameter in parameters:
            yield Visit(parameter, name)
    # Forward and backward of the lm_head follow each other, with nothing in between.
    yield Visit(head, "loss")
    yield Visit(head, "loss")
    last = len(layers) - 1
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


def _early(architecture: Architecture, layer: LayerSettings, allowed: Limits) -> int:
    """Number of parameters of a layer's last module that are fetched before the layer runs again.

    In a logged run DeepSpeed fetched both sides of the last adapter.
    """
    linear, smallest = architecture.layer.linears[-1], allowed.persistent
    sides = (linear.in_features, linear.out_features)
    both = all(layer.method.rank_of(linear.name) * side > smallest for side in sides)
    return 2 if both and is_targeted(architecture, linear, layer.method) else 1


def _parameters(
    architecture: Architecture, layer: LayerSettings, allowed: Limits
) -> tuple[list[list[Parameter]], Parameter, Parameter]:
    """Partitioned parameters of the layers, the embedding and the lm_head."""
    smallest, element = allowed.persistent, BYTES[layer.arithmetic.base.model_dtype]
    layers: list[list[Parameter]] = []
    # Number 0 is the embedding and number 1 an untied lm_head.
    number = 2
    stored = layer.arithmetic.base.quantization
    for _ in range(traced_layers(architecture, allowed, stored)):
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
        if is_targeted(architecture, linear, layer.method):
            for side in (linear.in_features, linear.out_features):
                elements = layer.method.rank_of(linear.name) * side
                yield elements, elements * element
    for linear in adapted_experts(architecture, layer.method):
        rows = adapter_rows(linear, layer.method, layer.method.adapter_rank)
        for side in (linear.in_features, linear.out_features):
            yield rows * side, rows * side * element


def _matrix(linear: Linear, layer: LayerSettings, element: int) -> tuple[int, int]:
    """Elements and bytes of a matrix; an element of a quantised matrix is one byte of it."""
    if is_quantized(linear, layer.arithmetic.base.quantization):
        packed = packed_bytes(linear, layer.arithmetic.base.quantization)
        return packed, packed
    return linear.weight_count, linear.weight_count * element
