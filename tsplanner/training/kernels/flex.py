"""Attention of rows by PyTorch's flex_attention: soft caps, windows and sinks without a score in
memory.

Notation: B micro-batch, T tokens of all rows, H query heads, K key heads, D head size.

PyTorch compiles one kernel per rule of the scores (torch/nn/attention/flex_attention.py). Which
blocks of tokens see which follows from the rows' bounds, so no T x T mask exists at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tsplanner.errors import TsplannerError
from tsplanner.training.kernels.rows import LAYOUT, Rows

if TYPE_CHECKING:
    from tsplanner.training.kernels.row_attention import Rules

BLOCK = 128
"""Tokens of a block on either side, PyTorch's default."""
KINDS = 32
"""Kinds of passes for which PyTorch may compile the kernel."""
ScoreChange = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def flex_rows(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
    """Causal attention within each row of the layout; see ``row_attention`` for the shapes."""
    device = query.device.type
    if torch.is_autocast_enabled(device):
        # Autocast knows scaled dot-product attention, and leaves this one alone.
        dtype = torch.get_autocast_dtype(device)
        query, key, value = (each.to(dtype) for each in (query, key, value))
    tokens = query.shape[2]
    spare = max(0, BLOCK + 1 - tokens)
    if spare:
        # Passes of one block would be a kernel of their own, and 15 s of compiling.
        query, key, value = (pad(each, (0, 0, 0, spare)) for each in (query, key, value))
    window = rules.window if rules.window is not None and rules.window < LAYOUT.longest else None
    masks = LAYOUT.rows.masks
    if window not in masks:
        masks[window] = block_mask(_followed(LAYOUT.rows, spare), window)
    options: dict[str, Any] = {"block_mask": masks[window], "scale": rules.scaling}
    options["enable_gqa"] = query.shape[1] > key.shape[1]
    # PyTorch gives short passes to a kernel for single tokens, which has no form for some heads.
    options["kernel_options"] = {"FORCE_USE_FLEX_ATTENTION": True}
    if rules.softcap is not None:
        options["score_mod"] = soft_cap(rules.softcap)
    run = compiled() if query.is_cuda else _flex_attention()
    if rules.sinks is None:
        result: Tensor = run(query, key, value, **options)
    else:
        mixed, beside = run(query, key, value, **options, **_asks_for_sums())
        result = with_sinks(mixed, getattr(beside, "lse", beside), rules.sinks)
    return result[:, :, :tokens].transpose(1, 2).contiguous()


def _followed(rows: Rows, spare: int) -> Rows:
    """Rows with another one of ``spare`` tokens behind them; 0: as they are."""
    if not spare:
        return rows
    assert rows.bounds is not None
    end = rows.bounds[-1:] + spare
    return Rows(torch.cat([rows.bounds, end]), [*rows.lengths, spare])


def with_sinks(mixed: Tensor, sums: Tensor, sinks: Tensor | None) -> Tensor:
    """What is left of mixed values [B, H, T, D] where sinks [H] take a part of every softmax.

    ``sums``: logarithms [B, H, T] of the sums of the exponents of the scores. The part of the
    tokens is exp(sum) / (exp(sum) + exp(sink)).
    """
    if sinks is None:
        return mixed
    share = torch.sigmoid(sums - sinks.view(1, -1, 1).float())
    return mixed * share.to(mixed.dtype).unsqueeze(-1)


def require_blocks() -> None:
    """Raise TsplannerError if masks by blocks know no length that is not one of whole blocks.

    They do from torch 2.6, with which flex_attention took groups of heads in backward as well.
    """
    try:
        from torch.nn.attention.flex_attention import BlockMask
    except ImportError:
        known = False
    else:
        known = "seq_lengths" in signature(BlockMask.from_kv_blocks).parameters
    if not known:
        raise TsplannerError(
            f"flex_attention needs torch 2.6, and {torch.__version__} is installed: upgrade torch, "
            "or plan again with --attention eager."
        )


def block_mask(rows: Rows, window: int | None) -> Any:
    """Which blocks see which, for ``flex_attention``; ``window``: tokens a token sees at most.

    What a token sees is a run that ends with itself, so two numbers per block of queries tell.
    """
    from torch.nn.attention.flex_attention import BlockMask

    lowest, tokens = rows.lowest(window), sum(rows.lengths)
    first = torch.arange(0, tokens, BLOCK, device=lowest.device)
    last = (first + BLOCK - 1).clamp(max=tokens - 1)
    keys = first.unsqueeze(0)
    seen = (keys <= last.unsqueeze(1)) & (keys + BLOCK > lowest[first].unsqueeze(1))
    whole = (keys + BLOCK <= first.unsqueeze(1) + 1) & (keys >= lowest[last].unsqueeze(1))

    def sees(_row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (key >= lowest[query])

    return BlockMask.from_kv_blocks(
        *_listed(seen & ~whole),
        *_listed(whole),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(tokens, tokens),
    )


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Number [1, 1, Q] and places [1, 1, Q, K] of the blocks of keys in each row, places first."""
    places = torch.argsort(blocks.int(), dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], places.int()[None, None].contiguous()


@cache
def soft_cap(most: float) -> ScoreChange:
    """A bound of the scores; the same function for the same bound, so that one kernel serves."""

    def capped(score: Tensor, _row: Tensor, _head: Tensor, _query: Tensor, _key: Tensor) -> Tensor:
        return torch.tanh(score / most) * most

    return capped


@cache
def _asks_for_sums() -> dict[str, Any]:
    """The option by which the installed torch gives the sums of the exponents as well."""
    from torch.nn.attention import flex_attention

    found = getattr(flex_attention, "AuxRequest", None)
    return {"return_lse": True} if found is None else {"return_aux": found(lse=True)}


def _flex_attention() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention


@cache
def compiled(backend: Any = "inductor") -> Any:
    """flex_attention as a kernel for any length, and never as plain products.

    It is compiled anew for passes without gradients, for one row and several, and for another soft
    cap or scale: numbers are part of the kernel, since PyTorch compiles none that is handed its
    soft cap. After eight kinds PyTorch gives up compiling and would make all scores without a
    word; told to take the whole graph it raises, and more kinds are let pass.
    """
    from torch._dynamo import config

    # The second name is that of torch 2.6.
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(getattr(config, name), KINDS))
    kernel = torch.compile(_flex_attention(), dynamic=True, fullgraph=True, backend=backend)

    def run(*given: Tensor, **options: Any) -> Any:
        with config.patch(specialize_float=True):
            return kernel(*given, **options)

    return run
