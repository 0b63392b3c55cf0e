"""The places of the patches of series in a batch of text.

Notation: B rows, T text tokens of the longest row, K series of all rows, N points of the longest
series, P patches of all series together, S positions after merging, D hidden size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

IGNORED_LABEL = -100
"""Label of a position that is not trained on."""


class Merged(NamedTuple):
    """A batch in which patches have replaced the token pairs of their series."""

    inputs_embeds: torch.Tensor
    """[B, S, D]"""
    attention_mask: torch.Tensor
    """[B, S]; 1 on text and patches, 0 on padding."""
    labels: torch.Tensor | None
    """[B, S]; -100 on patches and padding."""
    position_ids: torch.Tensor | None = None
    """[1, S] of rows laid end to end, where positions begin anew with every row; None: padded."""


def needed_mask(mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask [B, S], or None if all padding is on the right.

    In that case causal attention hides the padding from every position that counts, and attention
    can use a kernel without a mask.
    """
    if mask is None or bool((mask[:, 1:] <= mask[:, :-1]).all()):
        return None
    return mask


def check_pairs(opens: torch.Tensor, closes: torch.Tensor, series: int) -> None:
    """Raise ValueError unless each start is followed by an end and each series has one pair."""
    paired = torch.equal(opens[:, :-1], closes[:, 1:]) and not bool(closes[:, 0].any())
    if not paired or int(opens.sum()) != series:
        raise ValueError(
            f"{int(opens.sum())} <ts> and {int(closes.sum())} <ts/> tokens for {series} series"
        )


def merged_positions(position_ids: torch.Tensor, starts: torch.Tensor, length: int) -> torch.Tensor:
    """Positions [1, S] of merged rows that are laid end to end.

    ``position_ids``: [1, T] of the text, 0 at the first token of every row; ``starts``: [1, T], the
    place of each token after merging.
    """
    first = starts[position_ids == 0]
    begins = torch.zeros(1, length, dtype=torch.long, device=starts.device)
    begins[0, first] = first
    places = torch.arange(length, device=starts.device).unsqueeze(0)
    return places - begins.cummax(dim=1).values


def patch_places(
    opens: torch.Tensor, starts: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and position of every patch [P]; ``nonzero`` returns pairs in the order of the series."""
    row, token = torch.nonzero(opens, as_tuple=True)
    first = torch.repeat_interleave(starts[row, token], counts)
    before = torch.repeat_interleave(torch.cumsum(counts, dim=0) - counts, counts)
    within = torch.arange(first.shape[0], device=first.device) - before
    return torch.repeat_interleave(row, counts), first + within
