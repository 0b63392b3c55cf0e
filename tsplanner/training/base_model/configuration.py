"""What transformers is told of a plan's model: configuration, dtypes, attention, quantisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from memory_models.settings import Attention, Dtype, Quantization
from tsplanner.models.quantized import stored_base
from tsplanner.planner.plan import ModelRef, Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training.eight_bit import loading as eight_bit
from tsplanner.training.language_model import auto_class, text_config

DTYPES = {Dtype.FP32: torch.float32, Dtype.BF16: torch.bfloat16, Dtype.FP16: torch.float16}
FLOAT_TAG = "__float__"


def register_own_models() -> None:
    """Register the models that ship with tsplanner with transformers' Auto classes."""
    from tsplanner.training import chatts

    chatts.register()


def model_config(model: ModelRef) -> Any:
    """The configuration object of transformers for a plan's model."""
    from transformers import AutoConfig

    if model.has_weights or model.trust_remote_code:
        found = AutoConfig.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
        if model.trust_remote_code or found.model_type == model.config.get("model_type"):
            return found
    keys = configuration_values(model.config)
    return AutoConfig.for_model(str(model.config.get("model_type", model.model_type)), **keys)


def configuration_values(config: Mapping[str, object]) -> dict[str, Any]:
    """The keys of a decoded config.json that a configuration class takes.

    transformers writes infinity as ``{"__float__": "Infinity"}`` (configuration_utils.py).
    """
    return {key: _as_float(value) for key, value in config.items() if key != "model_type"}


def _as_float(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {FLOAT_TAG}:
            return float(value[FLOAT_TAG])
        return {key: _as_float(inner) for key, inner in value.items()}
    return [_as_float(inner) for inner in value] if isinstance(value, list) else value


def use_stored_form(config: Any, plan: Plan) -> None:
    """Let transformers load weights that are stored quantised as the plan was sized for.

    Packed matrices of bitsandbytes compute in the plan's dtype, not in the one that their config
    names; other forms are dequantised. Weights that are not there have no form.
    """
    stored = stored_base(plan.model.config)
    if stored is None:
        return
    # The text part of a model of text alone is the config itself.
    both = {id(found): found for found in (config, text_config(config))}
    for holder in filter(_stored_in, both.values()):
        given = dict(holder.quantization_config)
        if stored.quantization is None:
            holder.quantization_config = {**given, "dequantize": True}
        else:
            dtype = str(compute_dtype(plan.hardware)).removeprefix("torch.")
            holder.quantization_config = {**given, "bnb_4bit_compute_dtype": dtype}
        if not plan.model.has_weights:
            del holder.quantization_config


def _stored_in(config: Any) -> bool:
    return isinstance(getattr(config, "quantization_config", None), dict)


def quantization_config(hardware: HardwareSettings) -> Any | None:
    """How transformers quantises each matrix as it loads it; None without quantisation."""
    if hardware.base.quantization is None:
        return None
    if hardware.base.multiplies_8bit:
        return eight_bit.quantization_config(hardware.base.quantization)
    from transformers import BitsAndBytesConfig

    if hardware.base.quantization is Quantization.INT8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=hardware.base.quantization is Quantization.NF4_DQ,
        bnb_4bit_compute_dtype=compute_dtype(hardware),
    )


def own_quantization(plan: Plan) -> Any | None:
    """How transformers quantises what a folder stores; None: it does not, or the folder says it."""
    return quantization_config(plan.hardware) if stored_base(plan.model.config) is None else None


def compute_dtype(hardware: HardwareSettings) -> torch.dtype:
    """Dtype of the matrix products."""
    return DTYPES[hardware.base.autocast or hardware.base.model_dtype]


def attention_of(config: Any, wanted: str) -> str:
    """The attention that a model runs by transformers' name: eager if its code runs no sdpa.

    BLOOM, gpt-oss and models without any attention run eager alone, and so does a wrapper around
    such a language model (PaliGemma 2).
    """
    from transformers import AutoModel

    inner = text_config(config)
    known = (
        auto_class(config)._model_mapping.get(type(config), None),
        AutoModel._model_mapping.get(type(inner), None),
    )
    # Nothing is known of code that a model ships.
    runs_sdpa = all(getattr(each, "_supports_sdpa", True) for each in known)
    return Attention.EAGER.value if wanted == Attention.SDPA and not runs_sdpa else wanted


def runs_eager(model: Any) -> bool:
    """Whether a model was built with eager attention."""
    return str(model.config._attn_implementation) == Attention.EAGER.value
