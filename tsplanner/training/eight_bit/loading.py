"""The frozen base in 8 bits: matrix by matrix as it is loaded, so that it never lies there twice.

transformers loads each weight to the device and gives it to a quantiser, which another library may
register (transformers.quantizers.auto). Ours rounds the matrix, and the full one is freed then.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from memory_models.settings import Quantization
from memory_models.states.weights import EIGHT_BIT_SIDES
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.eight_bit import arithmetic
from tsplanner.training.eight_bit.forms import FP8, INT8
from tsplanner.training.eight_bit.linear import EightBitLinear

FORMS: dict[Quantization | None, torch.dtype] = {Quantization.FP8: FP8, Quantization.W8A8: INT8}
METHOD = "tsplanner-8-bit"
"""Name of our quantiser in transformers' tables."""


def eight_bit_linears(model: Any) -> Iterator[tuple[str, nn.Linear]]:
    """Names and modules of the linears that are kept in 8 bits: plain ones of the decoder layers.

    Both sides of their matrices are multiples of 16. ``memory_models.states.weights.form_of`` says
    the same of their shapes.
    """
    prefix, layers = decoder_layers(model)
    for name, module in layers.named_modules(prefix=prefix):
        if type(module) is nn.Linear:
            sides = (module.in_features, module.out_features)
            if not any(side % EIGHT_BIT_SIDES for side in sides):
                yield name, module


def rounded(linear: nn.Linear, quantization: Quantization | None) -> EightBitLinear:
    """The linear with its matrix in 8 bits, rounded where it lies."""
    weight = linear.weight.detach()
    rows = arithmetic.quantise_rows(weight, FORMS[quantization])
    return EightBitLinear(linear, rows, weight.dtype)


def replace_rounded(model: Any, dtype: torch.dtype) -> None:
    """Replace the linears whose matrices were rounded as they were loaded.

    ``dtype``: of their results. PEFT and Trainer shall not know of the quantiser.
    """
    for name, module in list(eight_bit_linears(model)):
        rows = getattr(module.weight, "rounded_rows", None)
        if rows is not None:
            model.set_submodule(name, EightBitLinear(module, rows, dtype))
    forget_quantiser(model)


def forget_quantiser(model: Any) -> None:
    """Take back what transformers says of a model that a quantiser has read."""
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        model.__dict__.pop(name, None)
    if getattr(model.config, "quantization_config", None) is not None:
        del model.config.quantization_config


@lru_cache(maxsize=1)
def _registered() -> Any:
    """The class of our quantiser's configuration, once both are in transformers' tables."""
    from transformers.core_model_loading import ConversionOps
    from transformers.quantizers.auto import register_quantization_config, register_quantizer
    from transformers.quantizers.base import HfQuantizer
    from transformers.utils.quantization_config import QuantizationConfigMixin

    class RoundRows(ConversionOps):
        """Round one matrix as it comes from its file."""

        def __init__(self, quantizer: Any) -> None:
            self.form = FORMS[Quantization(quantizer.quantization_config.form)]

        def convert(self, input_dict: Any, **_: Any) -> dict[str, nn.Parameter]:
            """The values as a parameter of the matrix's shape; its rows are beside it."""
            found = {}
            for name, given in input_dict.items():
                weight: Tensor = given[0] if isinstance(given, list) else given
                rows = arithmetic.quantise_rows(weight, self.form)
                packed: Any = nn.Parameter(rows.values.view(torch.int8), requires_grad=False)
                packed.rounded_rows = rows
                found[name] = packed
            return found

    @register_quantization_config(METHOD)
    class EightBitConfig(QuantizationConfigMixin):
        """The form by its name in settings."""

        def __init__(self, form: str, **_: Any) -> None:
            self.quant_method, self.form = METHOD, form

    @register_quantizer(METHOD)
    class EightBitQuantizer(HfQuantizer):
        """Rounds the decoder's linears; the model replaces them once all are there."""

        requires_calibration = False
        is_trainable = True

        def is_serializable(self) -> bool:
            """The base is never saved."""
            return False

        def _process_model_before_weight_loading(self, model: Any, **_: Any) -> Any:
            self._names = {f"{name}.weight" for name, _ in eight_bit_linears(model)}
            return model

        def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
            """Whether a parameter is the matrix of such a linear."""
            return param_name in self._names

        def get_quantize_ops(self) -> ConversionOps:
            """How transformers turns the loaded matrix into the kept one."""
            return RoundRows(self)

    return EightBitConfig


def quantization_config(quantization: Quantization) -> Any:
    """What ``from_pretrained`` is told so that each matrix is rounded as it is loaded."""
    return _registered()(form=quantization.value)
