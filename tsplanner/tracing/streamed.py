"""A traced model whose layers are streamed: the worker's own schedule on tensors without values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from memory_models.settings import Streaming, resident_layers
from tsplanner.tracing.fake_cuda.quantized import FourBitLinear
from tsplanner.tracing.fake_cuda.shapes import META, without_values
from tsplanner.tracing.fake_cuda.storages import Kind, StorageLog
from tsplanner.tracing.model import is_adapter
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.streaming.feed import WeightFeed
from tsplanner.training.streaming.layer_inputs import LayerInputs
from tsplanner.training.streaming.layer_major import LayerMajor
from tsplanner.training.streaming.slabs import Home, Place, Slab, plain_homes

CPU = torch.device("cpu")


class _Slab(Slab):
    """A slab whose bytes are on no device that the trace follows."""

    def placeholder(self, place: Place) -> Tensor:
        with torch._C._DisableTorchDispatch():
            one = torch.empty((1,) * len(place.shape), dtype=place.dtype, device=META)
            shown = one.expand(place.shape)
        return without_values(shown)


class _Inputs(LayerInputs):
    def taken(self, size: int) -> Tensor:
        return _untraced(size)


def _homes(layer: nn.Module) -> Iterator[tuple[Home, ...]]:
    """The homes of a layer's tensors, as the worker's bases have them."""
    yield from plain_homes(each for name, each in layer.named_parameters() if not is_adapter(name))
    for module in layer.modules():
        if isinstance(module, FourBitLinear):
            for name in ("scales", "scales_of_scales"):
                if hasattr(module, name):
                    yield ((module, name),)


def _untraced(size: int) -> Tensor:
    with torch._C._DisableTorchDispatch():
        made = torch.empty(size, dtype=torch.uint8, device=META)
    return without_values(made)


def layer_major(model: Any, streaming: Streaming, storages: StorageLog) -> LayerMajor:
    """The model's schedule, once its tensors have no values and before they are followed."""
    base = model.get_base_model()
    prefix, layers = decoder_layers(base)
    kept = resident_layers(len(layers), streaming.most)
    slabs: dict[int, Slab] = {}
    for index, layer in enumerate(layers):
        if index in kept:
            continue
        slab = _Slab(_homes(layer), CPU)
        slab.host = _untraced(slab.size)
        slab.rest()
        slabs[index] = slab
    feed = WeightFeed(slabs, CPU)
    for buffer in feed.buffers:
        buffer.bytes = _untraced(buffer.bytes.numel())
        storages.follow(buffer.bytes, "buffer", Kind.WEIGHTS)
    found = LayerMajor(
        model,
        list(layers),
        base.get_submodule(prefix.rpartition(".")[0]),
        feed,
        _Inputs(CPU, streaming.inputs_on_device),
    )
    # The state of random numbers is no memory of the device.
    found.random = False
    return found
