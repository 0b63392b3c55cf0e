"""Slices of a base, with one process that holds them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.distributed.tensor import DTensor  # noqa: E402

from memory_models.settings import Quantization, Sharding  # noqa: E402
from tests.support import tiny  # noqa: E402
from tsplanner.training.adapters import apply_method, decoder_layers  # noqa: E402
from tsplanner.training.base_model.build import build_model  # noqa: E402
from tsplanner.training.fully_sharded.base import HOST, drawn_base, share_out  # noqa: E402


@pytest.fixture
def group() -> Iterator[None]:
    """A group of this process alone, without a port of the machine."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def shared(folder: Path, **changes: Any) -> Any:
    """The tiny model with LoRA, shared out."""
    plan = tiny.with_hardware(tiny.plan(folder), **changes)
    trained = apply_method(plan, build_model(plan, HOST), 4)
    share_out(trained, HOST, Sharding(fsdp=True))
    return trained


@pytest.mark.usefixtures("group")
def test_frozen_weights_of_the_layers_are_sliced_and_adapters_are_whole(tmp_path: Path) -> None:
    """A layer works as before."""
    trained = shared(tmp_path)
    _, layers = decoder_layers(trained.get_base_model())
    inside = [each for layer in layers for each in layer.parameters()]
    assert all(isinstance(each, DTensor) is not each.requires_grad for each in inside)
    ids = torch.arange(12).view(1, 12)
    whole = apply_method(tiny.plan(tmp_path), build_model(tiny.plan(tmp_path), HOST), 4)
    with torch.no_grad():
        assert torch.equal(trained(input_ids=ids).logits, whole(input_ids=ids).logits)


@pytest.mark.usefixtures("group")
def test_a_layer_is_sliced_again_once_it_has_worked(tmp_path: Path) -> None:
    """After a forward no layer is gathered, and backward gathers each once more."""
    trained = shared(tmp_path)
    _, layers = decoder_layers(trained.get_base_model())
    ids = torch.arange(12).view(1, 12)
    loss = trained(input_ids=ids, labels=ids).loss
    frozen = [each for each in layers[0].parameters() if not each.requires_grad]
    assert all(isinstance(each, DTensor) for each in frozen)
    loss.backward()
    assert all(
        isinstance(each, DTensor) for each in layers[0].parameters() if not each.requires_grad
    )
    assert all(each.grad is not None for each in trained.parameters() if each.requires_grad)


@pytest.mark.parametrize("quantization", [None, Quantization.NF4])
def test_random_weights_are_drawn_module_by_module(
    tmp_path: Path, quantization: Quantization | None
) -> None:
    """Nothing is left without values, and two builds are the same."""
    plan = tiny.plan(tmp_path)
    settings = {"quantization": quantization, "upcast_unquantized": False}
    plan = tiny.with_hardware(plan, **settings)
    plan = replace(plan, model=replace(plan.model, has_weights=False))
    first, second = (drawn_base(plan, HOST).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(each, second[name]) for name, each in first.items())
    assert not any(each.is_meta for each in first.values())
    packed = [name for name in first if name.endswith("quant_state.bitsandbytes__nf4")]
    assert len(packed) == (0 if quantization is None else 21)
