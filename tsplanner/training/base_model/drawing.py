"""Random weights, drawn and packed on the device one module at a time.

They serve probes and demonstrations, because speed and memory do not depend on values. They come
from a fixed seed, so that an adapter can be loaded onto the base that it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from memory_models.settings import Quantization
from tsplanner.models.quantized import is_kept, stored_base
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training.base_model.configuration import DTYPES, attention_of, compute_dtype
from tsplanner.training.eight_bit import loading as eight_bit
from tsplanner.training.language_model import auto_class

BASE_SEED = 0
"""Seed of random base weights; the plan's seed is for the adapter and the data."""


def random_model(plan: Plan, config: Any, device: torch.device) -> Any:
    """A model of random weights on ``device``, quantised if the plan says so."""
    hardware = plan.hardware
    if hardware.base.quantization is None:
        torch.manual_seed(BASE_SEED)
        # ZeRO-3 shards each module while it is built, and its context moves the shards to the
        # device.
        return from_config(hardware, config, None if hardware.sharding.zero_stage == 3 else device)
    return drawn_model(plan, config, device, device)


def drawn_model(plan: Plan, config: Any, device: torch.device, place: torch.device) -> Any:
    """A model of random weights that are drawn and packed on ``device``, one module at a time, and
    go to ``place``.
    """
    stored = stored_base(plan.model.config)
    kept = () if stored is None else stored.kept or ()
    torch.manual_seed(BASE_SEED)
    model = from_config(plan.hardware, config, torch.device("meta"))
    for name, _ in drawn_modules(model, plan.hardware, device, kept):
        module = model.get_submodule(name)
        # What stands above others is named before them, when they are still empty.
        if place != device and not any(module.children()):
            module.to(place)
    model.tie_weights()
    model.requires_grad_(False)
    mark_packed(model, plan.hardware)
    return model


def mark_packed(model: Any, hardware: HardwareSettings) -> None:
    """Say of a model whose linears were packed one by one what transformers says of its own."""
    if not hardware.base.needs_bitsandbytes:
        return
    four_bit = hardware.base.quantization is not Quantization.INT8
    # PEFT and transformers ask these flags, which `from_pretrained` would have set.
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = four_bit, not four_bit
    model.quantization_method = "bitsandbytes"


def drawn_modules(
    model: Any, hardware: HardwareSettings, device: torch.device, kept: Sequence[str] = ()
) -> Iterator[tuple[str, nn.Module]]:
    """Every module of a model on the meta device, once it is drawn and quantised on ``device``."""
    packed = packed_linears(model, hardware, kept)
    for name, module in materialised(model, device):
        if id(module) in packed:
            model.set_submodule(name, quantised(module, hardware, device))
            # The list of the loop keeps the module alive, so its matrix is freed here: all matrices
            # together may not fit.
            module._parameters.clear()
        yield name, module


def packed_linears(model: Any, hardware: HardwareSettings, kept: Sequence[str] = ()) -> set[int]:
    """Which linears of a model are quantised, by the ids of the modules.

    The head stays as it is, because transformers does not quantise the head of a checkpoint.
    """
    if hardware.base.quantization is None:
        return set()
    if hardware.base.multiplies_8bit:
        return {id(module) for _, module in eight_bit.eight_bit_linears(model)}
    head = model.get_output_embeddings()
    return {
        id(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and not is_kept(name, kept)
    }


def from_config(hardware: HardwareSettings, config: Any, device: torch.device | None) -> Any:
    """A model with random weights on ``device``; None: where torch makes tensors by itself."""
    from contextlib import nullcontext

    with nullcontext() if device is None else device:
        return auto_class(config).from_config(
            config,
            dtype=DTYPES[hardware.base.model_dtype],
            attn_implementation=attention_of(config, hardware.kernels.attention.value),
        )


def materialised(model: nn.Module, device: torch.device) -> Iterator[tuple[str, nn.Module]]:
    """Every module of a model on the meta device, once it has memory and values on ``device``."""
    owners: dict[str, Any] = {"": model}
    for name, module in list(model.named_modules()):
        # A tower draws its initial values in a way of its own.
        own = hasattr(module, "_init_weights")
        owners[name] = module if own else owners[name.rpartition(".")[0]]
        _materialise(owners[name], module, device)
        yield name, module


def _materialise(owner: Any, module: nn.Module, device: torch.device) -> None:
    """Give the direct tensors of one module memory on the device and its owner's initial values."""
    tensors = [*module._parameters.values(), *module._buffers.values()]
    if all(tensor is None or not tensor.is_meta for tensor in tensors):
        return
    module.to_empty(device=device, recurse=False)
    for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        # transformers' initialisers (initialization.py) pass over a tensor with this mark set.
        tensor._is_hf_initialized = False
    module._is_hf_initialized = False
    owner._init_weights(module)


def quantised(
    linear: nn.Linear, hardware: HardwareSettings, device: torch.device, outliers: float = 0.0
) -> nn.Module:
    """The layer with the quantised weight of ``linear``; the caller frees the full matrix.

    ``outliers``: from which value on LLM.int8 multiplies a column in half precision; 0: never.
    """
    if hardware.base.multiplies_8bit:
        return eight_bit.rounded(linear, hardware.base.quantization)
    import bitsandbytes as bnb

    shape = (linear.in_features, linear.out_features, linear.bias is not None)
    with torch.device("meta"):
        layer = (
            bnb.nn.Linear8bitLt(*shape, has_fp16_weights=False, threshold=outliers)
            if hardware.base.quantization is Quantization.INT8
            else bnb.nn.Linear4bit(
                *shape,
                compute_dtype=compute_dtype(hardware),
                compress_statistics=hardware.base.quantization is Quantization.NF4_DQ,
                quant_type="nf4",
            )
        )
    weight = linear.weight.data
    if hardware.base.quantization is Quantization.INT8:
        # bitsandbytes quantises a matrix on its way to the device, int8 only from the CPU.
        packed = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    else:
        packed = bnb.nn.Params4bit(
            weight,
            requires_grad=False,
            compress_statistics=hardware.base.quantization is Quantization.NF4_DQ,
            quant_type="nf4",
        )
    layer.weight = packed.to(device)
    layer.bias = linear.bias
    return layer
