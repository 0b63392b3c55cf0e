"""A 4-bit base that DeepSpeed's ZeRO-3 partitions, built in host memory and taken weight by weight.

transformers partitions a plain base as it reads it, and refuses to with a quantised one, which it
would put whole on every GPU (modeling_utils.py, ``get_init_context``; quantizer_bnb_4bit.py). So
this base is built as if DeepSpeed were not there. The packed bytes are then partitioned like any
parameter, as uint8. Their constants are no parameters: they stay whole on every process, on the
weight itself, whose object DeepSpeed keeps while it swaps the bytes behind it.
Source: deepspeed runtime/zero/partition_parameters.py (``Init``, ``_convert_to_zero_parameters``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tsplanner.training.model import cast_whole_parameters


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
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    deepspeed.zero.Init(module=trained, config_dict_or_path=arguments.hf_deepspeed_config.config)
    base: Any = getattr(trained, "get_base_model", lambda: trained)()
    # Libraries ask where the model lies, and it is no longer where it was loaded.
    base.hf_device_map = {"": device}
