"""A whole model that is trained in slices: every weight, its gradient and its optimizer states.

Layers are gathered in turn, forward and backward. What is outside them (embedding, last norm and
lm_head) belongs to the root, which is gathered as the step begins and stays for its end. FSDP2
averages gradients over the processes as a layer's backward ends, so DDP has nothing to do.

Files are those of a model that is not cut: all processes give their slices, one of them writes, and
each reads its own slices back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from memory_models.settings import Sharding
from tsplanner.training import distributed
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.fully_sharded.sharers import sharers_of

T = TypeVar("T")

WORK = "work_on_gathered_root"
"""Name of a method around which FSDP2 gathers the root, as it does around forward."""


def share_out_trained(model: nn.Module, device: torch.device, sharding: Sharding) -> None:
    """Move a model to the device and leave each process its slices; a layer at a time is whole."""
    mesh = sharers_of(sharding, device).mesh
    _, layers = decoder_layers(model)
    for layer in layers:
        layer.to(device)
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    model.to(device)
    fully_shard(model, mesh=mesh)
    model.__dict__[WORK] = lambda work: work()
    register_fsdp_forward_method(model, WORK)
    # Libraries ask where the model lies, and it is no longer where it was loaded.
    model.__dict__["hf_device_map"] = {"": device}


def trains_slices(model: nn.Module) -> bool:
    """Whether what is trained is in slices."""
    return any(isinstance(each, DTensor) for each in model.parameters() if each.requires_grad)


def with_gathered_root(model: nn.Module, work: Callable[[], T]) -> T:
    """Do ``work``, which calls parts of the model by itself, as if it were the model's forward."""
    if not hasattr(model, WORK):
        return work()
    found: T = getattr(model, WORK)(work)
    return found


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights in host memory on the process that writes, none elsewhere; all must ask."""
    found: dict[str, Tensor] = {}
    seen: dict[int, Tensor] = {}
    for name, each in model.state_dict().items():
        place = _local(each).data_ptr()
        if place not in seen:
            seen[place] = _whole(each)
        found[name] = seen[place]  # a weight with two names stays one, and is written once
    return found if distributed.is_main() else {}


def read_slices(model: nn.Module, folder: Path) -> None:
    """Take this process's slices of the weights in a folder."""
    from safetensors import safe_open

    own = model.state_dict()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as read:
            for name in read.keys():  # noqa: SIM118 - it is no dictionary
                _take(own[name], read.get_tensor(name))


def whole_states(optimizer: Any) -> dict[str, Any]:
    """The optimizer's state dict without slices; all processes must ask."""
    found: dict[str, Any] = optimizer.state_dict()
    state = {
        number: {name: _whole(each) for name, each in values.items()}
        for number, values in found["state"].items()
    }
    return {**found, "state": state}


def sliced_states(optimizer: Any, whole: dict[str, Any]) -> dict[str, Any]:
    """A state dict that was written whole, cut as the weights of this process are."""
    cut = list(_trained(optimizer))
    state = {
        number: {
            name: _as_cut(each, cut[number]) if each.shape == cut[number].shape else each
            for name, each in values.items()
        }
        for number, values in whole["state"].items()
    }
    return {**whole, "state": state}


def _trained(optimizer: Any) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _local(each: Tensor) -> Tensor:
    return each.to_local() if isinstance(each, DTensor) else each


def _whole(each: Any) -> Any:
    if not isinstance(each, Tensor):
        return each
    whole = each.full_tensor() if isinstance(each, DTensor) else each
    return whole.detach().cpu() if distributed.is_main() else whole.new_empty(0)


def _as_cut(whole: Tensor, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor):
        return whole
    # FSDP2 cuts the first dimension as ``chunk`` does, so that the last processes may have no rows.
    mesh = like.device_mesh
    parts = whole.chunk(mesh.size())
    place = mesh.get_local_rank()
    own = parts[place] if place < len(parts) else whole[:0]
    ready = own.to(like.device, copy=True)
    shape, stride = like.shape, like.stride()
    return DTensor.from_local(
        ready, mesh, like.placements, run_check=False, shape=shape, stride=stride
    )


@torch.no_grad()
def _take(own: Tensor, whole: Tensor) -> None:
    _local(own).copy_(_local(_as_cut(whole, own)))
