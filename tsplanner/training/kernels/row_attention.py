"""Attention of rows that are laid end to end: no row sees another.

Notation: B micro-batch, T tokens of all rows, H query heads, K key heads, D head size.

On a GPU in half precision one kernel takes all rows (``torch.nn.attention.varlen``, from torch
2.10). Elsewhere, and for what that kernel does not have (soft caps, sinks, dropout), the rows go
through attention one by one, which makes no T x T mask either. Where a plan asks for
flex_attention, `flex` takes all rows on a GPU, and so the rows of a padded micro-batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tsplanner.errors import TsplannerError
from tsplanner.training.kernels.flex import flex_rows, require_blocks, with_sinks
from tsplanner.training.kernels.rows import LAYOUT, causal
from tsplanner.training.language_model import decoder, head_owner

NAME = "tsplanner_rows"
"""Name of this attention among those of transformers."""
FLEX = "tsplanner_flex"
"""The same by flex_attention."""
LARGEST_HEAD = 256
"""Largest head size of flash attention."""
BEFORE = "attention_before_rows"
"""Attribute of a model that names the attention it had before."""


def use_row_attention(model: Any, *, flex: bool = False) -> None:
    """Let a model's decoder read rows that are laid end to end, by their ``position_ids``.

    ``flex``: by flex_attention, which takes padded rows as well. A second call changes nothing.

    Raises TsplannerError: flex_attention is asked for, and the installed torch is too old for it.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    name = FLEX if flex else NAME
    if model.config._attn_implementation == name:
        return
    if flex:
        require_blocks()
    setattr(model, BEFORE, model.config._attn_implementation)
    AttentionInterface.register(name, partial(row_attention, flex=flex))
    AttentionMaskInterface.register(name, lambda *_, **__: None)
    model.set_attn_implementation(name)
    if model.config._attn_implementation != name:
        eager = " --attention eager" if flex else ""
        raise TsplannerError(
            f"The code of {type(model).__name__} runs its own attention alone: plan again with "
            f"--token-budget none{eager}."
        )
    body(model).register_forward_pre_hook(_note_rows, with_kwargs=True)


@contextmanager
def usual_attention(model: Any) -> Iterator[None]:
    """The attention that the model had before rows were laid end to end.

    A generation adds token by token to what it keeps of a row, which has no rows to tell apart.
    """
    before = getattr(model, BEFORE, None)
    if before is None:
        yield
        return
    own = model.config._attn_implementation
    model.set_attn_implementation(before)
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def body(model: Any) -> nn.Module:
    """The stack of decoder layers under a model's head."""
    owner = head_owner(model)
    if owner is model and hasattr(model, "get_decoder"):
        _, found = decoder(model)
        owner = found
    stack: nn.Module = getattr(owner, owner.base_model_prefix, owner)
    return stack


def _note_rows(stack: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if stack.config._attn_implementation not in (NAME, FLEX):
        return
    positions = kwargs.get("position_ids")
    if positions is not None:
        LAYOUT.read(positions)
        return
    # A batch that says nothing of rows has one row in every place.
    given = [kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args[:1]]
    tokens = next(each for each in given if each is not None)
    LAYOUT.one_row(tokens.shape[1], tokens.device)


class Rules(NamedTuple):
    """What a layer asks of its attention."""

    scaling: float | None = None
    """Factor of the scores; None: 1 / sqrt(D)."""
    window: int | None = None
    """Tokens that a token sees, itself included; None: all before it."""
    softcap: float | None = None
    """Bound of the scores; None: there is none."""
    dropout: float = 0.0
    sinks: Tensor | None = None
    """Scores [H] beside those of the tokens, of which nothing is taken; None: there are none."""


def row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    flex: bool = False,
    **asked: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row: query [B, H, T, D], key and value [B, K, T, D].

    Returns [B, T, H, D]. Several rows laid end to end have B = 1. ``asked``: what transformers'
    attention functions are asked, of which the rules of the layer are read.
    """
    rules = Rules(
        asked.get("scaling"),
        asked.get("sliding_window"),
        asked.get("softcap"),
        asked.get("dropout") or 0.0,
        asked.get("s_aux"),
    )
    if flex and rules.dropout:
        raise TsplannerError(
            "flex_attention has no dropout, and this model's attention_dropout is "
            f"{rules.dropout:g}: plan again with --attention eager."
        )
    if flex and query.is_cuda:
        return flex_rows(query, key, value, rules), None
    half = query.dtype in (torch.bfloat16, torch.float16)
    plain = rules.softcap is None and rules.sinks is None and not rules.dropout
    plain = plain and query.shape[-1] <= LARGEST_HEAD
    if query.is_cuda and half and plain and kernel_parameters():
        return _one_kernel(query, key, value, rules), None
    rows = [
        _one_row(*parts, rules)
        for parts in zip(
            query.split(LAYOUT.lengths, dim=2),
            key.split(LAYOUT.lengths, dim=2),
            value.split(LAYOUT.lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat(rows, dim=2).transpose(1, 2).contiguous(), None


@cache
def kernel_parameters() -> frozenset[str]:
    """Names of the parameters that the installed torch's kernel has; empty: it has no kernel."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


@cache
def takes_groups() -> bool:
    """Whether the kernel lets several query heads share a key head.

    Torch 2.13 has a word for it; before, nothing says so, and one query tells.
    """
    if "enable_gqa" in kernel_parameters():
        return True
    query, key = (torch.ones(2, heads, 64, device="cuda").bfloat16() for heads in (2, 1))
    bounds = torch.tensor([0, 2], dtype=torch.int32, device="cuda")
    try:
        _varlen(query, key, key, (bounds, 2), Rules())
    except (RuntimeError, ValueError):
        return False
    return True


def _one_kernel(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and not takes_groups():
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    assert LAYOUT.bounds is not None
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    return _varlen(query, key, value, (LAYOUT.bounds, LAYOUT.longest), rules).unsqueeze(0)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, rows: tuple[Tensor, int], rules: Rules
) -> Tensor:
    """Query [T, H, D], key and value [T, K, D]; ``rows``: their bounds, and the longest."""
    from torch.nn.attention.varlen import varlen_attn

    known = kernel_parameters()
    options: dict[str, Any] = {"scale": rules.scaling}
    if "window_size" in known:
        options["window_size"] = (-1 if rules.window is None else rules.window - 1, 0)
    else:
        options["is_causal"] = True
    if query.shape[1] > key.shape[1] and "enable_gqa" in known:
        options["enable_gqa"] = True
    bounds, longest = rows
    found: Tensor = varlen_attn(query, key, value, bounds, bounds, longest, longest, **options)
    return found


def _one_row(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
    """Attention of one row: [B, H, t, D]."""
    tokens, groups = query.shape[2], query.shape[1] // key.shape[1]
    # A window as long as the row hides nothing.
    window = rules.window if rules.window is not None and rules.window < tokens else None
    if rules.softcap is None and rules.sinks is None:
        mask = None if window is None else causal(tokens, window, query.device)
        return scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=rules.dropout,
            is_causal=mask is None,
            scale=rules.scaling,
            enable_gqa=groups > 1,
        )
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scale = query.shape[-1] ** -0.5 if rules.scaling is None else rules.scaling
    scores = query @ key.transpose(2, 3) * scale
    if rules.softcap is not None:
        scores = torch.tanh(scores / rules.softcap) * rules.softcap
    hidden = ~causal(tokens, window, query.device)
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).float()
    weights = torch.softmax(scores, dim=-1).to(query.dtype)
    mixed = nn.functional.dropout(weights, rules.dropout) @ value
    return with_sinks(mixed, scores.logsumexp(-1), rules.sinks)
