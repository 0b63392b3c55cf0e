"""Attention kernels over the same rows: what `benchmarks/speed/kernel_times.py` times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tsplanner.training.kernels import row_attention
from tsplanner.training.kernels.flex import flex_rows
from tsplanner.training.kernels.rows import LAYOUT


class Layer(NamedTuple):
    """One attention layer and the rows that it reads."""

    name: str
    heads: int
    groups: int
    """Key heads."""
    size: int
    lengths: tuple[int, ...]
    softcap: float | None = None
    window: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(self.lengths)


SKEWED = (1931, 1204, 803, 611, 502, 377, 344, 290, 251, 240, 199, 171, 133, 96, 61, 35)
LAYERS = (
    Layer("qwen3-8b, 4 rows of 2,048", 32, 8, 128, (2048,) * 4),
    Layer("qwen3-8b, 1 row of 4,096", 32, 8, 128, (4096,)),
    Layer("qwen3-8b, 16 skewed rows", 32, 8, 128, SKEWED),
    Layer("gemma-2-9b, 1 row of 4,096", 16, 8, 256, (4096,), softcap=50.0),
    Layer("gemma-2-9b, 1 row of 8,192, window", 16, 8, 256, (8192,), softcap=50.0, window=4096),
)
TINY_LAYERS = (
    Layer("tiny, 2 rows", 4, 2, 16, (32, 32)),
    Layer("tiny, soft cap", 4, 2, 16, (64,), softcap=50.0, window=32),
)
Run = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Query [1, H, T, D], key and value [1, K, T, D], to [1, T, H, D]."""


def causal_bias(layer: Layer, device: torch.device) -> Tensor:
    """[T, T]: which token sees which, for attention by one matrix of scores."""
    rows = torch.repeat_interleave(torch.arange(len(layer.lengths)), torch.tensor(layer.lengths))
    places = torch.arange(layer.tokens)
    ahead = places[:, None] - places[None, :]
    seen = (rows[:, None] == rows[None, :]) & (ahead >= 0)
    if layer.window is not None:
        seen &= ahead < layer.window
    return seen.to(device)


def eager(layer: Layer, device: torch.device) -> Run:
    """Scores as one matrix, with the soft cap: what transformers' eager attention does."""
    seen = causal_bias(layer, device)

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        groups = layer.heads // layer.groups
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(2, 3) * layer.size**-0.5
        if layer.softcap is not None:
            scores = torch.tanh(scores / layer.softcap) * layer.softcap
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        return (weights @ value).transpose(1, 2).contiguous()

    return run


def sdpa(layer: Layer, device: torch.device) -> Run:
    """The kernel of torch's own choice; rows of unequal length run one after the other."""
    if layer.softcap is not None:
        raise RuntimeError("it has no soft cap")
    rows, even = len(layer.lengths), len(set(layer.lengths)) == 1

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if even:
            parts = [
                part.reshape(part.shape[1], rows, -1, layer.size).transpose(0, 1)
                for part in (query, key, value)
            ]
            found = scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True)
            return found.transpose(1, 2).reshape(1, layer.tokens, layer.heads, layer.size)
        splits = (part.split(list(layer.lengths), dim=2) for part in (query, key, value))
        each = [
            scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True)
            for parts in zip(*splits, strict=True)
        ]
        return torch.cat(each, dim=2).transpose(1, 2)

    return run


def ours(layer: Layer, device: torch.device) -> Run:
    """The worker's attention of packed rows (varlen on a GPU)."""
    places = torch.cat([torch.arange(length) for length in layer.lengths])
    rules: dict[str, Any] = {"softcap": layer.softcap, "sliding_window": layer.window}

    module = torch.nn.Identity()
    LAYOUT.read(places[None].to(device))  # once, as a step does for all layers

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return row_attention.row_attention(module, query, key, value, None, **rules)[0]

    return run


def flex(layer: Layer, device: torch.device) -> Run:
    """The worker's flex_attention, compiled for any length."""
    places = torch.cat([torch.arange(length) for length in layer.lengths])
    rules = row_attention.Rules(window=layer.window, softcap=layer.softcap)

    LAYOUT.read(places[None].to(device))  # once, as a step does for all layers

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return flex_rows(query, key, value, rules)

    return run


def flash(layer: Layer, device: torch.device, module: str) -> Run:
    """The varlen function of a flash-attn package."""
    from importlib import import_module

    function = import_module(module).flash_attn_varlen_func
    bounds = torch.tensor((0, *layer.lengths)).cumsum(0).to(device, torch.int32)
    longest = max(layer.lengths)
    options: dict[str, Any] = {"causal": True}
    if layer.softcap is not None:
        options["softcap"] = layer.softcap
    if layer.window is not None:
        options["window_size"] = (layer.window - 1, 0)
    sizes = {"max_seqlen_q": longest, "max_seqlen_k": longest}
    sizes |= {"cu_seqlens_q": bounds, "cu_seqlens_k": bounds}

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = [part[0].transpose(0, 1).contiguous() for part in (query, key, value)]
        found = function(*parts, **sizes, **options)
        result: Tensor = (found[0] if isinstance(found, tuple) else found)[None]
        return result

    return run


ATTENTION: dict[str, Callable[[Layer, torch.device], Run]] = {
    "eager": eager,
    "sdpa": sdpa,
    "packed rows (ours)": ours,
    "flex_attention": flex,
    "flash-attn 2": lambda layer, device: flash(layer, device, "flash_attn"),
    "flash-attn 4": lambda layer, device: flash(layer, device, "flash_attn.cute"),
}
