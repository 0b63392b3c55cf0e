"""Stand-ins for bitsandbytes' linears: their storage, and the tensors that their products make.

Source: bitsandbytes nn/modules.py (Linear4bit, Linear8bitLt) and autograd/_functions.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memory_models.settings import Quantization, TrainingSettings
from tsplanner.models.quantized import is_kept
from tsplanner.training.base_model.configuration import DTYPES
from tsplanner.training.eight_bit.loading import eight_bit_linears, rounded
from tsplanner.training.kernels.frozen_linear import FourBitMatrix, FrozenMatrix

BLOCK = 64
"""Elements of a 4-bit matrix that share a scale."""
BLOCK_OF_SCALES = 256
"""Scales that share a scale under double quantisation."""
CODE = 16
CODE_OF_SCALES = 256


class QuantisedLinear(nn.Linear):
    """The common part of 4-bit and 8-bit linears: a packed weight and its constants."""

    adapted = False
    """Whether the linear has an adapter."""

    def __init__(self, original: nn.Linear, packed: Tensor, constants: dict[str, Tensor]) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = original.in_features, original.out_features
        self.weight = nn.Parameter(packed, requires_grad=False)
        # Packed storage has fewer elements than the matrix, which counts of parameters need.
        self.elements = original.in_features * original.out_features
        self.bias = original.bias
        for name, tensor in constants.items():
            self.register_buffer(name, tensor, persistent=False)


class FourBitLinear(QuantisedLinear):
    """Linear4bit, with two elements per byte."""

    compute_dtype: torch.dtype

    def forward(self, x: Tensor) -> Tensor:
        """De-quantise and multiply; PEFT's layer clones the result of a linear with an adapter."""
        out = self._product(x)
        return out.clone() if self.adapted else out

    def frozen_matrix(self) -> FrozenMatrix:
        """The matrix as our own adapters multiply by it."""
        return _FourBitMatrix(self)

    def _product(self, x: Tensor) -> Tensor:
        given = x.dtype
        x = x.to(self.compute_dtype)
        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        out: Tensor = _FourBitProduct.apply(x, self.weight, bias, self.out_features)
        return out.to(given)


class _FourBitMatrix(FourBitMatrix):
    """What ``FourBitMatrix`` allocates for a product: the dequantised matrix."""

    def __init__(self, linear: FourBitLinear) -> None:
        super().__init__(linear.weight, None)
        self.linear = linear

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the matrix is dequantised to."""
        return self.linear.compute_dtype

    def _dequantised(self) -> Tensor:
        linear = self.linear
        # Scales that are quantised themselves are made whole first.
        scales = linear.elements // BLOCK if hasattr(linear, "scales_of_scales") else 0
        wide = torch.empty(scales, dtype=torch.float32, device=linear.weight.device)
        whole = wide.new_empty(linear.out_features, linear.in_features, dtype=self.dtype)
        del wide
        return whole


class _FourBitProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, bias: Tensor | None, rows: int) -> Tensor:
        ctx.packed, ctx.shape = packed, (rows, x.shape[-1])
        whole = x.new_empty(ctx.shape)
        return nn.functional.linear(x, whole, bias)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = outputs
        whole = gradient.new_empty(ctx.shape)
        return gradient @ whole, None, None, None


class EightBitLinear(QuantisedLinear):
    """Linear8bitLt, with a byte per element and a scale per row; its product keeps its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Quantise the input, multiply in int8."""
        if self.bias is not None and self.bias.dtype != x.dtype:
            self.bias.data = self.bias.data.to(x.dtype)
        out: Tensor = _EightBitProduct.apply(x, self.weight, self.bias)
        return out


class _EightBitProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        half = flat.to(torch.float16)
        narrow = torch.empty_like(flat, dtype=torch.int8), half.new_empty(half.shape[0])
        del half
        product = flat.new_empty(flat.shape[0], packed.shape[0], dtype=torch.int32)
        out = product.to(x.dtype)
        del product, narrow
        # bitsandbytes keeps this tensor as an attribute, so checkpointing cannot drop it.
        ctx.held, ctx.packed, ctx.shape = flat, packed, x.shape
        return out.view(*x.shape[:-1], packed.shape[0])

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient = outputs[0].reshape(-1, outputs[0].shape[-1]).contiguous()
        whole = gradient.new_empty(ctx.packed.shape, dtype=ctx.held.dtype)
        found = gradient.to(ctx.held.dtype) @ whole
        return found.view(ctx.shape), None, None


def quantise(model: Any, settings: TrainingSettings, kept: Sequence[str] = ()) -> None:
    """Replace every linear of a model on ``meta``, as transformers does.

    The head stays whole, and so do modules whose names match a pattern of ``kept``. In our own 8
    bits the worker's own linears replace those of the decoder layers.
    """
    if settings.base.multiplies_8bit:
        for name, module in list(eight_bit_linears(model)):
            model.set_submodule(name, rounded(module, settings.base.quantization))
        return
    head = model.get_output_embeddings()
    compute = DTYPES[settings.base.autocast or settings.base.model_dtype]
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or module is head or is_kept(name, kept):
            continue
        if settings.base.quantization is Quantization.INT8:
            fresh: QuantisedLinear = _eight_bit(module)
        else:
            fresh = _four_bit(module, double=settings.base.quantization is Quantization.NF4_DQ)
            fresh.compute_dtype = compute
        model.set_submodule(name, fresh)


def follow_bitsandbytes(model: nn.Module) -> None:
    """Let adapters on quantised linears read their input without a cast under autocast.

    PEFT has separate layers for bitsandbytes, which cast the input only without autocast.
    Source: peft/tuners/lora/bnb.py (Linear4bit.forward, ``requires_conversion``).
    """
    for module in model.modules():
        base = getattr(module, "base_layer", None)
        if isinstance(base, QuantisedLinear):
            base.adapted = True
            module._cast_input_dtype = _cast_without_autocast


def _cast_without_autocast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if torch.is_autocast_enabled("cpu") else x.to(dtype)


def use_stand_ins_in_peft() -> None:
    """Let PEFT's DoRA de-quantise the stand-ins, for the rest of this process."""
    from peft.tuners.lora import dora

    original = dora.dequantize_module_weight

    def dequantised(module: nn.Module) -> Any:
        if isinstance(module, FourBitLinear):
            return torch.empty(
                module.out_features,
                module.in_features,
                dtype=module.compute_dtype,
                device=module.weight.device,
            )
        if isinstance(module, QuantisedLinear):
            return module.weight.to(torch.float16)
        return original(module)

    # A second case in this process must not wrap the wrapper again.
    if original.__name__ != dequantised.__name__:
        dora.dequantize_module_weight = dequantised


def _four_bit(linear: nn.Linear, *, double: bool) -> FourBitLinear:
    elements = linear.weight.numel()
    blocks = -(-elements // BLOCK)
    constants = {"code": _floats(CODE)}
    if double:
        constants |= {
            "scales": torch.empty(blocks, dtype=torch.uint8, device="meta"),
            "scales_of_scales": _floats(-(-blocks // BLOCK_OF_SCALES)),
            "code_of_scales": _floats(CODE_OF_SCALES),
            "offset": _floats(1),
        }
    else:
        constants["scales"] = _floats(blocks)
    packed = torch.empty((elements + 1) // 2, 1, dtype=torch.uint8, device="meta")
    return FourBitLinear(linear, packed, constants)


def _eight_bit(linear: nn.Linear) -> EightBitLinear:
    packed = torch.empty(linear.weight.shape, dtype=torch.int8, device="meta")
    return EightBitLinear(linear, packed, {"scales": _floats(linear.out_features)})


def _floats(count: int) -> Tensor:
    return torch.empty(count, dtype=torch.float32, device="meta")
