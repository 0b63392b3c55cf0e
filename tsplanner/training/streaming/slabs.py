"""The frozen weights of one decoder layer, side by side in one region of host memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from memory_models.rounding import BLOCK_BYTES
from memory_models.units import round_up
from tsplanner.training.streaming.regions import Region


@dataclass(frozen=True)
class Place:
    """Where one weight lies in its layer's bytes."""

    parameter: nn.Parameter
    shape: torch.Size
    dtype: torch.dtype
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the weight."""
        return prod(self.shape) * self.dtype.itemsize

    def of(self, layer: Tensor) -> Tensor:
        """The weight within the bytes of its layer [bytes], without a copy."""
        found = layer[self.offset : self.offset + self.size]
        return found.view(self.dtype).view(self.shape)


class Slab:
    """The weights of a layer in host memory.

    Between its turns every weight of the layer is a placeholder on the device: one element that is
    shown as often as the shape asks for. So libraries find the shape, the dtype and the device that
    they would find on a base that lies whole on the device.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], device: torch.device) -> None:
        self.device = device
        self.places: list[Place] = []
        end = 0
        for each in parameters:
            self.places.append(Place(each, each.shape, each.dtype, end))
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
                place.of(region.bytes).copy_(place.parameter.data)
            # The tensor that was read goes here, so that no second copy of the base adds up.
            place.parameter.data = self.placeholder(place)
        region.lock()

    def install(self, layer: Tensor) -> None:
        """Let the layer work with the bytes [size] of ``layer``."""
        for place in self.places:
            place.parameter.data = place.of(layer)

    def rest(self) -> None:
        """Leave placeholders behind, as the bytes go to another layer."""
        for place in self.places:
            place.parameter.data = self.placeholder(place)

    def placeholder(self, place: Place) -> Tensor:
        """A tensor of the weight's shape and dtype on the device, which takes one element."""
        one = torch.empty((1,) * len(place.shape), dtype=place.dtype, device=self.device)
        return one.expand(place.shape)
