"""A 4-bit base that DeepSpeed's ZeRO-3 partitions, built in host memory and taken weight by weight.

transformers partitions a plain base as it reads it, and refuses to with a quantised one, which it
would put whole on every GPU (modeling_utils.py, ``get_init_context``; quantizer_bnb_4bit.py). So
this base is built as if DeepSpeed were not there. The packed bytes are then partitioned like any
parameter, as uint8. Their constants are no parameters: they stay whole on every process, on the
weight itself, whose object DeepSpeed keeps while it swaps the bytes behind it.
Source: deepspeed runtime/zero/partition_parameters.py (``Init``, ``_convert_to_zero_parameters``).
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tsplanner.training.base_model.reading import cast_whole_parameters
from tsplanner.training.kernels.frozen_linear import FrozenMatrix, frozen_matrix


@contextmanager
def without_deepspeed(arguments: Any) -> Iterator[None]:
    """Hide Trainer's DeepSpeed configuration from transformers and PEFT, which then build whole."""
    from transformers.integrations import deepspeed

    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed.set_hf_deepspeed_config(arguments.hf_deepspeed_config)


def partition(trained: nn.Module, device: torch.device, dtype: torch.dtype, arguments: Any) -> None:
    """Leave each process its part of every parameter, on the device.

    One parameter at a time is whole there, so the base may be larger than the device. ``dtype``: of
    all parameters that are not packed.
    """
    import deepspeed

    # DeepSpeed casts what it partitions itself, and takes what comes partitioned as it is.
    cast_whole_parameters(trained, dtype)
    for module in trained.modules():
        constants = getattr(module._parameters.get("weight"), "quant_state", None)
        if constants is not None:
            constants.to(device)
            multiply_gathered(module)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    deepspeed.zero.Init(module=trained, config_dict_or_path=arguments.hf_deepspeed_config.config)
    base: Any = getattr(trained, "get_base_model", lambda: trained)()
    # Libraries ask where the model lies, and it is no longer where it was loaded.
    base.hf_device_map = {"": device}


class GatheredProduct(torch.autograd.Function):
    """The product with a packed weight that is whole only while its linear works.

    bitsandbytes' own product keeps the gathered bytes from forward to backward, beside all that a
    checkpoint drops (``MatMul4Bit``, ``ctx.tensors``), so that in the end the whole base is on
    every device. DeepSpeed gathers the weight again before the linear's backward.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, linear: nn.Module) -> Tensor:
        """The product rows W^T [N, out] of rows [N, in]."""
        ctx.linear = linear
        return _matrix(linear).product(rows, bias=getattr(linear, "bias", None))

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        """The product gradient W [N, in]."""
        return _matrix(ctx.linear).product_back(outputs[0]), None


def multiply_gathered(linear: nn.Module) -> None:
    """Let a 4-bit linear hold its weight no longer than it works."""
    linear.forward = types.MethodType(_multiplied, linear)


def _multiplied(linear: nn.Module, rows: Tensor) -> Tensor:
    """A 4-bit linear's forward: rows [..., in] to [..., out] in their dtype."""
    flat = rows.to(_matrix(linear).dtype).flatten(0, -2)
    result: Tensor = GatheredProduct.apply(flat, linear)
    return result.unflatten(0, rows.shape[:-1]).to(rows.dtype)


def _matrix(linear: nn.Module) -> FrozenMatrix:
    found = frozen_matrix(linear)
    assert found is not None
    return found
