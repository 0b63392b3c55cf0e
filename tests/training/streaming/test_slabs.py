"""The weights of a layer in one region, and placeholders on the device."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tsplanner.training.streaming.regions import Region  # noqa: E402
from tsplanner.training.streaming.slabs import Slab, homes_of  # noqa: E402

CPU = torch.device("cpu")


def test_weights_go_to_the_region_and_come_back_as_they_were() -> None:
    """3 x 5 values of 4 bytes, then 5 of them from the next multiple of 512 bytes on."""
    layer = nn.Linear(5, 3)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    slab = Slab(homes_of(layer), CPU)
    assert slab.size == 2 * 512
    assert [place.offset for place in slab.places] == [0, 512]
    slab.adopt(Region(slab.size, lock=False))
    assert slab.host is not None
    slab.install(slab.host.clone())
    assert torch.equal(layer.weight, weight)
    assert torch.equal(layer.bias, bias)


def test_a_layer_at_rest_has_its_shapes_and_takes_one_element() -> None:
    """Libraries that look at shape, dtype and device see the layer that they know."""
    layer = nn.Linear(64, 32, dtype=torch.bfloat16)
    slab = Slab(homes_of(layer), CPU)
    slab.adopt(Region(slab.size, lock=False))
    assert layer.weight.shape == (32, 64)
    assert layer.weight.dtype is torch.bfloat16
    assert layer.weight.untyped_storage().nbytes() == 2
    assert layer.to(CPU).weight.untyped_storage().nbytes() == 2


def test_one_of_two_processes_fills_the_region_of_both() -> None:
    """The other one only lays its weights over it."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    expected = first.weight.detach().clone()
    region = Region(1024, lock=False)
    Slab(homes_of(first), CPU).adopt(region)
    slab = Slab(homes_of(second), CPU)
    slab.adopt(region, fill=False)
    slab.install(region.bytes)
    assert torch.equal(second.weight, expected)
