"""Rules of CUDA that differ from the CPU's: autocast, dropout's mask, the norm, 8-bit products.

Sources: aten/src/ATen/autocast_mode.h (AT_FORALL_FP32 and its siblings), native/Dropout.cpp.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

from tsplanner.training.eight_bit import arithmetic
from tsplanner.training.eight_bit.arithmetic import Rows
from tsplanner.training.kernels import fused_kernels
from tsplanner.training.kernels.compiled import linears, pieces

IN_FP32 = [
    "acos",
    "asin",
    "cosh",
    "erfinv",
    "exp",
    "expm1",
    "log",
    "log10",
    "log2",
    "log1p",
    "reciprocal",
    "rsqrt",
    "sinh",
    "tan",
    "pow",
    "softplus",
    "layer_norm",
    "native_layer_norm",
    "group_norm",
    "frobenius_norm",
    "nuclear_norm",
    "cosine_similarity",
    "cosine_embedding_loss",
    "nll_loss",
    "nll_loss2d",
    "kl_div",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "mse_loss",
    "soft_margin_loss",
    "binary_cross_entropy_with_logits",
    "dist",
    "cdist",
    "renorm",
    "logsumexp",
]
"""Operators whose half-precision inputs CUDA's autocast turns into fp32."""
RESULT_IN_FP32 = [
    "prod",
    "softmax",
    "log_softmax",
    "cumprod",
    "cumsum",
    "linalg_vector_norm",
    "sum",
]
"""Operators with an argument ``dtype``, which is fp32 if the caller gives none."""
HALF = (torch.float16, torch.bfloat16)
_WITHOUT_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
_library: list[Any] = []


def use_cuda_casts() -> None:
    """Give the CPU's autocast the lists of CUDA's autocast, for the rest of this process."""
    if _library:
        return
    library = torch.library.Library("aten", "IMPL")
    # torch takes the registration back when the library object is freed.
    _library.append(library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.library warns that kernels are replaced
        for name in IN_FP32:
            _register(library, name, _widened)
        for name in RESULT_IN_FP32:
            _register(library, name, _wide_result)


def _register(library: Any, name: str, rule: Callable[[Any], Callable[..., Any]]) -> None:
    packet = getattr(torch.ops.aten, name)
    for overload in packet.overloads():
        operator = getattr(packet, overload)
        if "out" in overload or operator._schema.is_mutable or "Dimname" in str(operator._schema):
            continue
        library.impl(
            operator._schema.name.split("::")[1]
            + (f".{overload}" if overload != "default" else ""),
            rule(operator),
            "AutocastCPU",
            allow_override=True,
        )


def _widened(operator: Any) -> Callable[..., Any]:
    def in_fp32(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_WITHOUT_AUTOCAST):
            args, kwargs = pytree.tree_map_only(Tensor, _wide, (args, kwargs))
            return operator(*args, **kwargs)

    return in_fp32


def _wide_result(operator: Any) -> Callable[..., Any]:
    names = [argument.name for argument in operator._schema.arguments]
    place = names.index("dtype") if "dtype" in names else len(names)

    def in_fp32(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_WITHOUT_AUTOCAST):
            given = args[place] if len(args) > place else kwargs.get("dtype")
            if "dtype" in names and given is None and args[0].dtype in HALF:
                args, kwargs = args[:place], {**kwargs, "dtype": torch.float32}
            return operator(*args, **kwargs)

    return in_fp32


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor


@contextmanager
def cuda_autocast_answers() -> Iterator[None]:
    """Answer questions about CUDA's autocast with the state of the CPU's.

    Models call ``torch.is_autocast_enabled()``, which asks about CUDA. Enabling CUDA's autocast as
    well would not help: checkpointing (torch/utils/checkpoint.py) restores the state of the one
    device that the tensors are on.
    """
    enabled, dtype = torch.is_autocast_enabled, torch.get_autocast_dtype
    torch.is_autocast_enabled = lambda device_type="cpu": enabled("cpu")
    torch.get_autocast_dtype = lambda device_type="cpu": dtype("cpu")
    try:
        yield
    finally:
        torch.is_autocast_enabled, torch.get_autocast_dtype = enabled, dtype


@contextmanager
def cuda_dropout() -> Iterator[None]:
    """Replace dropout by one that keeps one byte per element, as CUDA's fused kernel does."""
    original = functional.dropout

    def dropout(
        input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0.0:
            return input
        result: Tensor = torch.native_dropout(input, p, True)[0]
        return result

    functional.dropout = dropout
    try:
        yield
    finally:
        functional.dropout = original


@contextmanager
def cuda_norm() -> Iterator[None]:
    """Replace the fused norm by one that allocates its results alone, as CUDA's kernel does."""
    forward, backward = fused_kernels.normed, fused_kernels.normed_backward

    def normed(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        scale = torch.empty((*x.shape[:-1], 1), dtype=torch.float32, device=x.device)
        return torch.empty_like(x), scale

    def normed_backward(
        gradient: Tensor, x: Tensor, weight: Tensor, scale: Tensor, *, need_weight: bool
    ) -> tuple[Tensor, Tensor | None]:
        return torch.empty_like(x), torch.empty_like(weight) if need_weight else None

    fused_kernels.normed, fused_kernels.normed_backward = normed, normed_backward
    try:
        yield
    finally:
        fused_kernels.normed, fused_kernels.normed_backward = forward, backward


@contextmanager
def cuda_pieces() -> Iterator[None]:
    """Let compiled kernels allocate their results alone, and wide products nothing beside them."""
    wide = linears.wide_product

    def product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
        # A product of no columns asks for cuBLAS' workspace as the real one does.
        torch.mm(left, right[:, :0])
        return left.new_empty(left.shape[0], right.shape[1], dtype=dtype)

    linears.wide_product = product
    try:
        with pieces.traced():
            yield
    finally:
        linears.wide_product = wide


@contextmanager
def cuda_eight_bit() -> Iterator[None]:
    """Replace 8-bit products by ones that allocate what the tensor cores' and our kernels do."""
    real = arithmetic.quantise_rows, arithmetic.multiply, arithmetic.turned

    def quantise_rows(matrix: Tensor, form: torch.dtype, columns: Tensor | None = None) -> Rows:
        scale = matrix.new_empty(len(matrix), 1, dtype=torch.float32)
        return Rows(torch.empty_like(matrix, dtype=form), scale)

    def multiply(left: Rows, right: Rows, dtype: torch.dtype) -> Tensor:
        shape = (len(left.values), len(right.values))
        # int8 sums are int32 until they are scaled; kept alive while the result is made.
        sums = left.scale.new_empty(shape if left.values.dtype is torch.int8 else 0)
        result = left.scale.new_empty(shape, dtype=dtype)
        del sums
        return result

    def turned(values: Tensor) -> Tensor:
        return torch.empty_like(values.t(), memory_format=torch.contiguous_format)

    replaced = quantise_rows, multiply, turned
    arithmetic.quantise_rows, arithmetic.multiply, arithmetic.turned = replaced
    try:
        yield
    finally:
        arithmetic.quantise_rows, arithmetic.multiply, arithmetic.turned = real
