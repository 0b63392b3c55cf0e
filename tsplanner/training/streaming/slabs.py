"""The frozen weights of one decoder layer, side by side in one region of host memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from memory_models.rounding import BLOCK_BYTES
from memory_models.units import round_up
from tsplanner.training.streaming.regions import Region

Home = tuple[Any, str]
"""An object, and the attribute of it that a tensor lies in; dots lead to attributes of attributes.

Libraries replace parameters of a module (PEFT, where it dequantises on a CPU), so that the way to a
tensor begins at the module.
"""


def holder_of(home: Home) -> tuple[Any, str]:
    """The object that has the tensor as its own attribute, and that attribute's name."""
    holder, path = home
    *way, name = path.split(".")
    for each in way:
        holder = getattr(holder, each)
    return holder, name


@dataclass(frozen=True)
class Place:
    """Where one tensor lies in its layer's bytes."""

    homes: tuple[Home, ...]
    """Every attribute that has the tensor."""
    shape: torch.Size
    dtype: torch.dtype
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def tensor(self) -> Tensor:
        """What the homes have now."""
        found: Tensor = getattr(*holder_of(self.homes[0]))
        return found

    def put(self, tensor: Tensor) -> None:
        """Let all homes have a tensor."""
        for home in self.homes:
            setattr(*holder_of(home), tensor)

    def of(self, layer: Tensor) -> Tensor:
        """The tensor within the bytes of its layer [bytes], without a copy."""
        found = layer[self.offset : self.offset + self.size]
        return found.view(self.dtype).view(self.shape)


def plain_homes(parameters: Iterable[nn.Parameter]) -> Iterator[tuple[Home, ...]]:
    """The homes of parameters that have no constants beside them."""
    for parameter in parameters:
        yield ((parameter, "data"),)


def homes_of(layer: nn.Module) -> Iterator[tuple[Home, ...]]:
    """The homes of every tensor of a layer that grows with its matrices.

    bitsandbytes keeps the constants of a 4-bit matrix beside its parameter, and an 8-bit matrix a
    second time for its products. Codes, offsets and scales of whole rows are small: they stay on
    the device.
    Source: bitsandbytes, functional.py (QuantState), nn/modules.py (Linear8bitLt).
    """
    seen: set[int] = set()
    for module in layer.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            state = getattr(parameter, "quant_state", None)
            if hasattr(parameter, "SCB"):
                if parameter.CB is not None:
                    module.init_8bit_state()
                yield (module, f"{name}.data"), (module, "state.CB")
            else:
                yield ((module, f"{name}.data"),)
            if state is not None:
                yield ((module, f"{name}.quant_state.absmax"),)
                if state.nested:
                    yield ((module, f"{name}.quant_state.state2.absmax"),)


class Slab:
    """The weights of a layer in host memory.

    Between its turns every weight of the layer is a placeholder on the device: one element that is
    shown as often as the shape asks for. So libraries find the shape, the dtype and the device that
    they would find on a base that lies whole on the device.
    """

    def __init__(
        self,
        homes: Iterable[tuple[Home, ...]],
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        """``dtype``: in which the layer works, where its tensors still have another one."""
        self.device = device
        self.places: list[Place] = []
        end = 0
        for each in homes:
            tensor = getattr(*holder_of(each[0]))
            self.places.append(Place(each, tensor.shape, dtype or tensor.dtype, end))
            end = round_up(end + self.places[-1].size, BLOCK_BYTES)
        self.size = end
        self.region: Region | None = None
        self.host: Tensor | None = None
        """The region's bytes."""

    def adopt(self, region: Region, *, fill: bool = True) -> None:
        """Move the weights into ``region``, and lock it.

        ``fill``: False where another process fills the region that both read.
        """
        self.region, self.host = region, region.bytes
        for place in self.places:
            if fill:
                place.of(region.bytes).copy_(place.tensor)
            # The tensor that was read goes here, so that no second copy of the base adds up.
            place.put(self.placeholder(place))
        region.lock()

    def install(self, layer: Tensor) -> None:
        """Let the layer work with the bytes [size] of ``layer``."""
        for place in self.places:
            place.put(place.of(layer))

    def rest(self) -> None:
        """Leave placeholders behind, as the bytes go to another layer."""
        for place in self.places:
            place.put(self.placeholder(place))

    def placeholder(self, place: Place) -> Tensor:
        """A tensor of the weight's shape and dtype on the device, which takes one element."""
        one = torch.empty((1,) * len(place.shape), dtype=place.dtype, device=self.device)
        return one.expand(place.shape)
