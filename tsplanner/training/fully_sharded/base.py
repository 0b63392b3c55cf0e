"""Share the frozen layers of a base out over the processes of a run; each gathers them in turn.

torch's ``fully_shard`` (FSDP2) keeps a slice of every frozen weight on each process and gathers a
layer right before it works, forward and backward. The adapters stay whole on every process, where
DDP averages their gradients: they are small, and optimizer, clipping, saving and resuming need not
know of the slices.

An embedding and a head that are frozen and not tied are shared out by rows and never gathered
(``vocabulary.py``); under the plain loss, which needs all logits, the head is gathered as a layer.
The constants of 4-bit matrices are no parameters and stay whole; so do norms outside the layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from memory_models.settings import Sharding
from tsplanner.planner.plan import Plan
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.base_model.build import build_model, ready_base, ready_config
from tsplanner.training.base_model.drawing import drawn_model
from tsplanner.training.fully_sharded.sharers import Sharers, sharers_of
from tsplanner.training.fully_sharded.vocabulary import share_embedding, share_head

HOST = torch.device("cpu")
"""Where the base is built. transformers maps files of weights into memory, so the processes of a
host share the pages that they read, and each takes its slices from there."""


HALVES = torch.bfloat16
"""What packed 4-bit weights are called while FSDP2 moves them; nothing counts with it."""


def host_base(plan: Plan, device: torch.device) -> Any:
    """The base of a plan in host memory. Raises TsplannerError: as ``build_model``."""
    drawn = device.type == "cuda" and not (plan.model.has_weights or plan.hardware.base.upcasts)
    return drawn_base(plan, device) if drawn else build_model(plan, HOST)


def drawn_base(plan: Plan, device: torch.device) -> Any:
    """A base of random weights in host memory, which a device draws and packs faster."""
    model = drawn_model(plan, ready_config(plan), device, HOST)
    ready_base(model, plan)
    return model


def share_out(
    trained: nn.Module,
    device: torch.device,
    sharding: Sharding,
    *,
    fused_loss: bool = False,
) -> None:
    """Move a model with its adapters to the device, and leave each process its slice of the base.

    A layer is on the device as a whole only while it is sliced, so the base may be larger than the
    device. Slices are those of all processes or, by the sharding, of those of one machine; DDP
    averages what is trained over all. ``fused_loss``: the only thing that asks for the head.
    """
    base = getattr(trained, "get_base_model", lambda: trained)()
    prefix, layers = decoder_layers(base)
    sharers = sharers_of(sharding, device)
    mesh = sharers.mesh
    for layer in layers:
        _slice(layer, device, mesh)
    share_tables(base, device, sharers, fused_loss=fused_loss)
    for head in [] if fused_loss else untied(base, base.get_output_embeddings(), nn.Linear):
        _slice(head, device, mesh)
    # One root joins the layers, so that the next layer is gathered while this one works.
    body = base.get_submodule(prefix.rpartition(".")[0])
    fully_shard(body, mesh=mesh, ignored_params=_whole(body.parameters()))
    base.to(device)
    # Libraries ask where the model lies, and it is no longer where it was loaded.
    base.hf_device_map = {"": device}


def _slice(module: nn.Module, device: torch.device, mesh: DeviceMesh | None) -> None:
    """Leave a slice of the frozen weights of one module here; they are gathered when it is called.

    A gathered weight is a plain parameter. bitsandbytes' linears then look for the constants on the
    linear itself.
    """
    module.to(device)
    for each in module.modules():
        own = each._parameters.get("weight")
        constants = getattr(own, "quant_state", None)
        if own is not None and constants is not None:
            each.quant_state, each.weight = constants, _as_halves(own)
    trained = {each for each in module.parameters() if each.requires_grad}
    fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=trained)


def _as_halves(packed: nn.Parameter) -> nn.Parameter:
    """The same bytes as a column of 16-bit numbers, which bitsandbytes reads as well.

    Before torch 2.12 FSDP2 lets every slice ask for a gradient first, which integers cannot.
    """
    return nn.Parameter(packed.detach().view(-1).view(HALVES).unsqueeze(1), requires_grad=False)


def share_tables(base: Any, device: torch.device, sharers: Sharers, *, fused_loss: bool) -> None:
    """Share embedding and head out by rows where that is possible."""
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    for each in untied(base, embedding, nn.Embedding):
        share_embedding(each, device, sharers)
    for each in untied(base, head, nn.Linear) if fused_loss else []:
        share_head(each, device, sharers)


def untied(base: Any, module: Any, kind: type[nn.Module]) -> list[Any]:
    """The module, if it is a plain one of this kind, frozen, and the two tables share no weight."""
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    tied = getattr(embedding, "weight", None) is getattr(head, "weight", None)
    if tied or type(module) is not kind or module.weight.requires_grad:
        return []
    return [module]


def _whole(parameters: Iterable[nn.Parameter]) -> set[nn.Parameter]:
    return {each for each in parameters if not isinstance(each, DTensor)}
