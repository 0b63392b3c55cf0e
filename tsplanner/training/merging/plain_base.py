"""A base for a merge: as it was trained on, and then with every matrix whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from memory_models.settings import BaseStorage, BatchLayout, Kernels, Sharding, Streaming
from tsplanner.planner.plan import ModelRef, Plan
from tsplanner.training.base_model.build import build_model
from tsplanner.training.eight_bit.linear import EightBitLinear
from tsplanner.training.language_model import read_text_alone
from tsplanner.training.merging.records import MergeRequest

MARKS = (
    "hf_quantizer",
    "is_quantized",
    "quantization_method",
    "is_loaded_in_4bit",
    "is_loaded_in_8bit",
)
"""By which transformers knows a quantised model."""


def device_of(request: MergeRequest) -> torch.device:
    """A GPU if the plan is for one and one is here."""
    wants = request.plan.hardware.accelerator == "cuda" and not request.on_cpu
    return torch.device("cuda" if wants and torch.cuda.is_available() else "cpu")


def plan_here(request: MergeRequest, model: ModelRef, *, quantised: bool) -> Plan:
    """The plan on one device, with nothing of how it was trained but the form of its base."""
    hardware = request.plan.hardware
    base = BaseStorage(
        model_dtype=request.dtype,
        autocast=None,
        quantization=hardware.base.quantization if quantised else None,
        upcast_unquantized=False,
    )
    plain = replace(
        hardware,
        accelerator=device_of(request).type,
        devices=(),
        batch=BatchLayout(gradient_checkpointing=False),
        base=base,
        kernels=Kernels(attention=hardware.kernels.attention),
        sharding=Sharding(),
        streaming=Streaming(),
    )
    return replace(request.plan, model=model, hardware=plain)


def loaded(plan: Plan, device: torch.device) -> Any:
    """The model of a plan, ready to be asked."""
    model = build_model(plan, device)
    read_text_alone(model)
    return model.eval()


def whole_matrices(model: Any, dtype: torch.dtype) -> None:
    """Replace every quantised linear by a plain one with the values that its bits stand for.

    transformers' marks of a quantised model go with them.
    """
    for name, module in list(model.named_modules()):
        weight = _whole_weight(module)
        if weight is not None:
            model.set_submodule(name, _linear(module, weight.to(dtype)))
    for mark in MARKS:
        model.__dict__.pop(mark, None)
    # Of a folder that bitsandbytes stored, transformers would write the packed form again.
    known = getattr(model, "_weight_conversions", None)
    if known is not None:
        model._weight_conversions = [each for each in known if not _packs(each)]
    for config in {id(each): each for each in (model.config, _text(model.config))}.values():
        if getattr(config, "quantization_config", None) is not None:
            del config.quantization_config


def _packs(conversion: Any) -> bool:
    """Whether one of transformers' conversions of weights packs them as bitsandbytes does."""
    steps = getattr(conversion, "operations", ())
    return any(type(step).__module__.endswith(".bitsandbytes") for step in steps)


def _text(config: Any) -> Any:
    return config.get_text_config(decoder=True)


def _whole_weight(module: nn.Module) -> torch.Tensor | None:
    """The matrix [out, in] of a quantised linear; None: the module is none."""
    if isinstance(module, EightBitLinear):
        return module.rows.whole(torch.float32)
    if type(module).__module__.partition(".")[0] != "bitsandbytes":
        return None
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    found: torch.Tensor = dequantize_bnb_weight(module.weight, getattr(module, "state", None))
    return found


def _linear(module: Any, weight: torch.Tensor) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if module.bias is not None:
        linear.bias = nn.Parameter(module.bias.detach().to(weight.dtype), requires_grad=False)
    return linear
