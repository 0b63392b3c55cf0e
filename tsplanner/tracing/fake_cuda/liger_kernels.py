"""Liger's own code on tensors without values: its kernels are launched and compute nothing."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import torch

from tsplanner.errors import TsplannerError


def use_liger(model: Any) -> None:
    """Patch a base model as Trainer's ``use_liger_kernel`` does, for the rest of this process.

    Liger asks whether a tensor is on a GPU before it multiplies into a buffer; here the answer is
    yes. Its gradient of a trained lm_head takes another way on the CPU, which is not followed.

    Raises:
        TsplannerError: liger-kernel or triton is not installed, or Liger does not know the model.
    """
    if find_spec("liger_kernel") is None or find_spec("triton") is None:
        raise TsplannerError("A trace of Liger's kernels runs its code: pip install liger-kernel.")
    jit: Any = importlib.import_module("triton.runtime.jit")
    jit.KernelInterface.__getitem__ = lambda *_: _launch_nothing
    patches: Any = importlib.import_module("liger_kernel.transformers.monkey_patch")
    if model.config.model_type not in patches.MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise TsplannerError(f"liger-kernel patches no {model.config.model_type}.")
    loss: Any = importlib.import_module("liger_kernel.ops.fused_linear_cross_entropy")
    loss._can_use_mm_out = _multiplies_into_buffers
    # It compares the incoming gradient with 1, and then scales the others where they stand.
    loss.fused_linear_cross_entropy_backward = lambda _, *gradients: gradients
    patches._apply_liger_kernel_to_instance(model=model)


def _launch_nothing(*_: Any, **__: Any) -> None:
    return None


def _multiplies_into_buffers(states: torch.Tensor, weight: torch.Tensor) -> bool:
    if states.dtype != weight.dtype:
        return False
    autocast = torch.is_autocast_enabled("cpu")
    return not autocast or states.dtype == torch.get_autocast_dtype("cpu")
