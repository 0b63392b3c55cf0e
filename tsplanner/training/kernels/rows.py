"""Where the rows of the pass at work begin, and which tokens of them see which.

Notation: T tokens of all rows, laid end to end.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


class Rows:
    """The rows of one pass."""

    def __init__(self, bounds: Tensor | None, lengths: list[int]) -> None:
        self.bounds, self.lengths = bounds, lengths
        """Place of every row's first token, and T at the end [rows + 1], int32; tokens per row."""
        self.longest = max(lengths, default=0)
        """Tokens of the longest row."""
        self.masks: dict[int | None, Any] = {}
        """What `flex` made of these rows, by window: all layers of a pass share it."""

    def lowest(self, window: int | None) -> Tensor:
        """The first token [T] that each token sees, int32; ``window``: how many it sees at most."""
        assert self.bounds is not None
        tokens = sum(self.lengths)
        sizes = self.bounds.diff()
        found = torch.repeat_interleave(self.bounds[:-1], sizes, output_size=tokens)
        if window is None:
            return found
        places = torch.arange(tokens, dtype=torch.int32, device=found.device)
        return torch.maximum(found, places - (window - 1))


class RowLayout:
    """The rows of the pass at work; the layers of a model read them."""

    def __init__(self) -> None:
        self.rows = Rows(None, [])

    @property
    def bounds(self) -> Tensor | None:
        """See `Rows`."""
        return self.rows.bounds

    @property
    def longest(self) -> int:
        """See `Rows`."""
        return self.rows.longest

    @property
    def lengths(self) -> list[int]:
        """See `Rows`."""
        return self.rows.lengths

    def read(self, position_ids: Tensor) -> None:
        """Take the rows from positions [1, T] that begin anew with every row."""
        starts = torch.nonzero(position_ids[0] == 0).flatten()
        end = starts.new_tensor([position_ids.shape[-1]])
        bounds = torch.cat([starts, end])
        self.rows = Rows(bounds.to(torch.int32), bounds.diff().tolist())

    def one_row(self, tokens: int, device: torch.device) -> None:
        """Take one row of all tokens; what was made of a row of this length is there already."""
        self.rows = _one_row(tokens, device)

    def taken(self) -> Rows:
        """The rows of this pass, for `put`."""
        return self.rows

    def put(self, rows: Rows) -> None:
        """Go back to a pass whose rows were `taken`."""
        self.rows = rows


LAYOUT = RowLayout()
"""The rows of the pass at work: a process runs one pass at a time."""


@lru_cache(maxsize=8)
def _one_row(tokens: int, device: torch.device) -> Rows:
    return Rows(torch.tensor([0, tokens], dtype=torch.int32, device=device), [tokens])


def causal(tokens: int, window: int | None, device: torch.device) -> Tensor:
    """[t, t]: whether a token (row) sees another (column)."""
    seen = torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()
    return seen if window is None else seen.triu(1 - window)
