"""Weights that a folder holds, read as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tsplanner.errors import TsplannerError
from tsplanner.models.quantized import stored_base
from tsplanner.planner.plan import Plan
from tsplanner.training.base_model.configuration import DTYPES, attention_of
from tsplanner.training.language_model import auto_class


def read_weights(
    plan: Plan,
    config: Any,
    device: torch.device,
    quantiser: Any | None,
    dtype: torch.dtype | str | None = None,
) -> Any:
    """The model of a folder; ``quantiser``: what transformers is told of its quantisation.

    ``dtype``: other than the plan's.

    Raises TsplannerError: the checkpoint does not fit its config.
    """
    # Under ZeRO-3 transformers shards plain weights as it reads them and refuses a device map.
    shards = plan.hardware.sharding.zero_stage == 3 and not plan.hardware.partitions_packed
    placement: dict[str, Any] = {} if shards else {"device_map": {"": device}}
    model, info = auto_class(config).from_pretrained(
        plan.model.path,
        config=config,
        dtype=dtype or DTYPES[plan.hardware.base.model_dtype],
        attn_implementation=attention_of(config, plan.hardware.kernels.attention.value),
        # A folder that is stored quantised brings its own; transformers takes no second one.
        quantization_config=quantiser,
        trust_remote_code=plan.model.trust_remote_code,
        # A pickle can run code while it is read.
        use_safetensors=True,
        output_loading_info=True,
        **placement,
    )
    if not shards:  # where transformers shards, each process loads only its shards
        refuse_other_keys(info, str(plan.model.path))
    if stored_base(plan.model.config) is not None:
        cast_whole_parameters(model, DTYPES[plan.hardware.base.model_dtype])
    return model


def cast_whole_parameters(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the parameters that are not packed to one dtype.

    transformers loads a folder that is stored quantised in the dtypes of its files, whatever it is
    asked for, and only the biases of packed matrices in the dtype that it was asked for.
    """
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def refuse_other_keys(info: dict[str, Any], folder: str) -> None:
    """Refuse a checkpoint that lacks weights of the model or has weights that the model lacks.

    transformers only logs a warning and fills missing weights with random values. Raises
    TsplannerError with the first key.
    """
    for sort, words in (("missing_keys", "lacks"), ("unexpected_keys", "holds, unread,")):
        if keys := sorted(info[sort]):
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise TsplannerError(
                f"The checkpoint in {folder} {words} {keys[0]}{more}: its config.json belongs to "
                "another model, or a file of it is missing; fetch it again."
            )
