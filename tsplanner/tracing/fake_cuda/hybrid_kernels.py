"""Fused kernels of state-space and linear-attention layers as CUDA allocates them.

Models of transformers call these layers' operators through functions of fixed names. Each is the
kernel of a package if the package is installed, and otherwise transformers' reference in plain
operators, which keeps two to five times as much for backward. The stand-ins here allocate what the
kernels make. They were written from the packages' sources and are not measured.

Notation: B rows, L positions, H heads, P width of a head, N state size, G groups, K and V widths.
Sources: mamba_ssm/ops/triton/ssd_combined.py (MambaSplitConv1dScanCombinedFn), causal_conv1d
(CausalConv1dFn), fla/ops/gated_delta_rule/chunk.py (ChunkGatedDeltaRuleFunction).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsplanner.tracing.records import HybridKernels

MAMBA, CONVOLUTION, LINEAR_ATTENTION = "mamba_ssm", "causal_conv1d", "fla"
DISTRIBUTIONS = {
    MAMBA: "mamba-ssm",
    CONVOLUTION: "causal-conv1d",
    LINEAR_ATTENTION: "flash-linear-attention",
}
"""Names by which the packages are installed."""
PACKAGE_OF = {
    "mamba2_split_conv1d_scan_combined": MAMBA,
    "mamba2_chunk_scan": MAMBA,
    "mamba_selective_scan": MAMBA,
    "mamba_inner_fn": MAMBA,
    "causal_conv1d_fn": CONVOLUTION,
    "torch_chunk_gated_delta_rule": LINEAR_ATTENTION,
    "chunk_kimi_delta_attention": LINEAR_ATTENTION,
}
"""The functions of transformers' models that training calls, and the package of each."""
DELTA_CHUNK = 64
"""Positions of a chunk in the kernels of the gated delta rule."""


def installed_packages() -> frozenset[str]:
    """The packages of fused kernels that are installed here."""
    return frozenset(name for name in DISTRIBUTIONS if find_spec(name) is not None)


def chosen_packages(chosen: HybridKernels) -> frozenset[str]:
    """The packages whose kernels a trace takes."""
    if chosen is HybridKernels.INSTALLED:
        return installed_packages()
    return frozenset(DISTRIBUTIONS if chosen is HybridKernels.FUSED else ())


def packages_of(model: nn.Module) -> list[str]:
    """The packages whose kernels the code of a model would use."""
    found = {PACKAGE_OF[name] for _, name in _functions(model)}
    return [package for package in DISTRIBUTIONS if package in found]


def assumption(model: nn.Module, fused: frozenset[str]) -> str:
    """Which kernels a trace takes for the state-space layers; empty if a model has none."""
    used = packages_of(model)
    if not used:
        return ""
    modelled = {PACKAGE_OF[name] for _, name in _functions(model) if name in STAND_INS}
    taken = [DISTRIBUTIONS[name] for name in used if name in fused and name in modelled]
    others = [DISTRIBUTIONS[name] for name in used if DISTRIBUTIONS[name] not in taken]
    words = []
    if taken:
        words.append(f"fused kernels of {' and '.join(taken)}, not measured")
    if others:
        words.append(
            f"without the kernels of {' and '.join(others)}: transformers' reference path"
            + (" (--hybrid-kernels fused shows what they save)" if not taken else "")
        )
    return "; ".join(words)


@contextmanager
def hybrid_kernels(model: nn.Module, fused: frozenset[str]) -> Iterator[None]:
    """Let a model use the stand-ins of the packages ``fused``, and the references of the others.

    An installed package's own kernels cannot run on tensors without values.
    """
    replaced: list[tuple[Any, str, Any]] = []
    for owner, name in _functions(model):
        original = getattr(owner, name)
        stand_in = STAND_INS.get(name) if PACKAGE_OF[name] in fused else None
        replaced.append((owner, name, original))
        setattr(owner, name, stand_in or getattr(original, "__wrapped__", original))
    try:
        yield
    finally:
        for owner, name, original in replaced:
            setattr(owner, name, original)


def _functions(model: nn.Module) -> list[tuple[Any, str]]:
    """The functions that the code of a model may call, with the module that holds each."""
    codes = {type(module).__module__ for module in model.modules()}
    owners = [sys.modules[code] for code in sorted(codes) if code.startswith("transformers.models")]
    return [(owner, name) for owner in owners for name in PACKAGE_OF if hasattr(owner, name)]


def causal_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, **_: Any) -> Tensor:
    """Stand in for ``causal_conv1d_fn`` on [B, channels, L]; the kernel keeps its input."""
    if x.stride(2) != 1 and x.stride(1) != 1:
        x = x.contiguous()
    result: Tensor = _Convolution.apply(x, weight, bias)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _like(ctx.saved_tensors, ctx.needs_input_grad)


def split_convolution_scan(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt_bias: Tensor,
    A: Tensor,  # noqa: N803  the kernel's own names, by which some models pass them
    D: Tensor,  # noqa: N803
    chunk_size: int,
    **options: Any,
) -> Tensor:
    """Stand in for Mamba-2's ``mamba_split_conv1d_scan_combined`` on [B, L, all parts]."""
    shape = (options["headdim"], options.get("ngroups", 1), chunk_size)
    result: Tensor = _SplitScan.apply(
        shape,
        zxbcdt,
        conv1d_weight,
        conv1d_bias,
        dt_bias,
        A,
        D,
        options.get("rmsnorm_weight"),
        options.get("outproj_weight"),
        options.get("outproj_bias"),
    )
    return result


class _SplitScan(torch.autograd.Function):
    """Convolution, scan, gated norm and output projection in one.

    It keeps its input, the scan's output [B, L, H, P] and the norm's scale; backward makes the rest
    again.
    """

    @staticmethod
    def forward(ctx: Any, shape: tuple[int, int, int], *tensors: Any) -> Tensor:
        zxbcdt, convolution, bias, dt_bias, a, d, norm, projection, offset = tensors
        width, groups, _ = shape
        rows, length, _ = zxbcdt.shape
        convolved = zxbcdt.new_empty(rows, convolution.shape[0], length)
        inside = _scan_workspace(zxbcdt, d.shape[0], convolution.shape[0], shape)
        scanned = zxbcdt.new_empty(rows, length, d.shape[0], width)
        del inside
        out, scale = scanned.view(rows, length, -1), None
        if norm is not None:
            out = torch.empty_like(out)
            scale = zxbcdt.new_empty(groups * rows * length, dtype=torch.float32)
        if projection is not None:
            if torch.is_autocast_enabled("cpu"):
                dtype = torch.get_autocast_dtype("cpu")
                out, projection = out.to(dtype), projection.to(dtype)
                offset = None if offset is None else offset.to(dtype)
            out = functional.linear(out, projection, offset)
        del convolved
        ctx.shape = shape
        ctx.save_for_backward(
            zxbcdt, convolution, bias, dt_bias, a, d, norm, projection, offset, scanned, scale
        )
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        zxbcdt, convolution, _, _, _, d, norm, projection, _, scanned, _ = ctx.saved_tensors
        gradient, channels = gradients[0], convolution.shape[0]
        rows, length, _ = zxbcdt.shape
        again = torch.empty_like(scanned) if projection is not None else None
        convolved = zxbcdt.new_empty(rows, channels, length)
        found = torch.empty_like(zxbcdt)
        inner = zxbcdt.new_empty(rows, length, channels)
        if projection is not None:
            gradient = functional.linear(gradient, projection.t())
        before_norm = torch.empty_like(gradient) if norm is not None else None
        inside = _scan_workspace(zxbcdt, d.shape[0], channels, ctx.shape)
        inside += _scan_gradients(zxbcdt, d.shape[0], channels, ctx.shape)
        del inside, again, convolved, inner, before_norm
        others = _like(ctx.saved_tensors[1:9], ctx.needs_input_grad[2:])
        return (None, found, *others)


def _scan_workspace(
    like: Tensor, heads: int, channels: int, shape: tuple[int, int, int]
) -> list[Tensor]:
    """Steps and their sums [B, H, L], states of every chunk [B, C, H, P, N] twice, and products."""
    width, groups, chunk = shape
    rows, length, _ = like.shape
    chunks = -(-length // chunk)
    state = (channels - heads * width) // groups // 2
    steps = [_fp32(like, rows, heads, chunks, chunk) for _ in range(2)]
    states = _fp32(like, rows, chunks, heads, width, state)
    passed = like.new_empty(rows, chunks, heads, width, state)
    del states
    return [*steps, passed, _fp32(like, rows, chunks, groups, chunk, chunk)]


def _scan_gradients(
    like: Tensor, heads: int, channels: int, shape: tuple[int, int, int]
) -> list[Tensor]:
    """What backward of the scan makes besides: states in fp32, their gradients, and those of B, C.

    ``_state_passing_fwd`` keeps fp32 states here, and the copies for the products are in half.
    """
    width, groups, chunk = shape
    rows, length, _ = like.shape
    chunks = -(-length // chunk)
    state = (channels - heads * width) // groups // 2
    wide = [_fp32(like, rows, chunks, heads, width, state) for _ in range(2)]
    narrow = like.new_empty(rows, chunks, heads, width, state)
    steps = [_fp32(like, rows, heads, chunks, chunk) for _ in range(4)]
    parts = [_fp32(like, rows, length, groups, state) for _ in range(2)]
    return [*wide, narrow, *steps, *parts, _fp32(like, rows, chunks, groups, chunk, chunk)]


def gated_delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    **options: Any,
) -> tuple[Tensor, None]:
    """Stand in for ``chunk_gated_delta_rule`` on [B, L, H, K] and [B, L, H, V]."""
    given = [item.contiguous() for item in (query, key, value, g, beta)]
    normalised = bool(options.get("use_qk_l2norm_in_kernel", False))
    result: Tensor = _DeltaRule.apply(normalised, *given)
    return result, None


class _DeltaRule(torch.autograd.Function):
    """It keeps its inputs, the summed gates and the inverse [B, L, H, 64] of every chunk."""

    @staticmethod
    def forward(ctx: Any, normalised: bool, *given: Tensor) -> Tensor:
        query, key, value, g, beta = given
        scales = [_fp32(query, *query.shape[:3]) for _ in range(2)] if normalised else []
        if normalised:
            query, key = torch.empty_like(query), torch.empty_like(key)
        summed = torch.empty_like(g, dtype=torch.float32)
        whole = _fp32(key, *key.shape[:3], DELTA_CHUNK)
        inverse = key.new_empty(*key.shape[:3], DELTA_CHUNK)
        del whole
        inside = _delta_workspace(key, value)
        out = torch.empty_like(value)
        del inside
        ctx.save_for_backward(query, key, value, summed, beta, inverse, *scales)
        ctx.gates = g.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, summed, beta, *scales = ctx.saved_tensors
        inside = _delta_workspace(key, value)
        chunks = -(-key.shape[1] // DELTA_CHUNK)
        rows, _, heads, width = key.shape
        local = torch.empty_like(value)
        states = key.new_empty(rows, chunks, heads, width, value.shape[-1])
        moved = torch.empty_like(value)
        del local
        found = [torch.empty_like(item) for item in (query, key, key)]
        gates = torch.empty_like(summed)
        del states, inside
        again = [torch.empty_like(item) for item in (key, value, beta)]
        del moved
        gates = torch.empty_like(gates)
        if len(scales) > 1:
            found[:2] = [torch.empty_like(item) for item in (query, key)]
        return None, found[0], found[1], again[1], gates.to(ctx.gates), again[2]


def _delta_workspace(key: Tensor, value: Tensor) -> list[Tensor]:
    """Two projections, the state of every chunk [B, C, H, K, V], and the corrected values."""
    rows, length, heads, width = key.shape
    chunks = -(-length // DELTA_CHUNK)
    return [
        torch.empty_like(key),
        torch.empty_like(value),
        key.new_empty(rows, chunks, heads, width, value.shape[-1]),
        torch.empty_like(value),
    ]


def _fp32(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(shape, dtype=torch.float32)


def _like(tensors: Any, needed: Any) -> tuple[Tensor | None, ...]:
    """Gradients of the shapes of some tensors, where autograd needs them."""
    return tuple(
        torch.empty_like(item) if item is not None and wanted else None
        for item, wanted in zip(tensors, needed, strict=False)
    )


STAND_INS: dict[str, Callable[..., Any]] = {
    "causal_conv1d_fn": causal_convolution,
    "mamba2_split_conv1d_scan_combined": split_convolution_scan,
    "torch_chunk_gated_delta_rule": gated_delta_rule,
}
"""Functions whose kernels are modelled; of the others the reference is traced."""
