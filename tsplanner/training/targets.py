"""Which modules of a model can carry an adapter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MODELS_OWN_CODE = ("transformers.models.", "transformers_modules.")
"""Where the classes that a model's own code defines come from."""


def linear_names(model: nn.Module) -> list[str]:
    """Full names of the linears, whether or not they have adapters already."""
    return [
        name.removesuffix(".base_layer")
        for name, module in model.named_modules()
        if ".lora_" not in name and is_linear(module)
    ]


def is_linear(module: nn.Module) -> bool:
    """Whether a module multiplies its input by one matrix and returns the product alone.

    GPT-2's Conv1D does, with the matrix transposed. Some models derive other things from
    ``nn.Linear``: the routers of Llama 4 and Phi-MoE return scores and choices, and DeepSeek-V4's
    grouped projection multiplies block by block. PEFT would wrap them and fail in the first step.
    """
    if is_transposed(module):
        return True
    if not isinstance(module, nn.Linear):
        return False
    own = type(module).__module__.startswith(MODELS_OWN_CODE)
    return not own or _multiplies(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether a module keeps its matrix as [in, out] (PEFT's ``fan_in_fan_out``)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _multiplies(module: nn.Linear) -> bool:
    """Whether a linear of the model's own code turns [1, in] into [1, out], tried on ``meta``."""
    tensors = {
        name: torch.empty_like(tensor, device="meta") for name, tensor in module.named_parameters()
    }
    row = torch.empty(1, module.in_features, dtype=module.weight.dtype, device="meta")
    try:
        with torch.no_grad():
            result = torch.func.functional_call(module, tensors, (row,))
    except Exception:  # whatever another kind of module raises for a row of a linear
        return False
    return isinstance(result, Tensor) and result.shape == (1, module.out_features)


def refusal(model: Any, name: str) -> str:
    """Why PEFT puts no adapter on modules of this last name; empty if it does.

    The kernels of Mamba read the weight of ``out_proj`` and pass its adapter by. PEFT knows some of
    these models by name.
    """
    from peft import LoraConfig
    from peft.tuners import tuners_utils

    check = getattr(tuners_utils, "_check_lora_target_modules_mamba", None)
    if check is None:
        return ""
    try:
        check(LoraConfig(), model, name)
    except ValueError as error:
        return str(error)
    return ""
