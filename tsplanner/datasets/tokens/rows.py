"""A rendered row as token ids, with the ranges of tokens that carry loss."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate

from memory_models.frozen import frozen
from tsplanner.datasets.rendering.pieces import Piece, joined

Encode = Callable[[str], tuple[Sequence[int], Sequence[tuple[int, int]]]]
"""Token ids of a text, and the characters that each token covers."""


@frozen
class TokenRow:
    """Token ids of a row."""

    ids: array[int]
    learned: tuple[tuple[int, int], ...]
    """Ranges of tokens that carry loss, each from its first token to the one after its last."""

    @property
    def learned_tokens(self) -> int:
        """Number of tokens that carry loss."""
        return sum(end - start for start, end in self.learned)


def token_row(pieces: Sequence[Piece], encode: Encode) -> TokenRow:
    """Tokenise a row as a whole; a token carries loss if it holds a learned character."""
    ids, offsets = encode(joined(tuple(pieces)))
    ends = list(accumulate(len(piece.text) for piece in pieces))
    ranges = [
        (end - len(piece.text), end)
        for piece, end in zip(pieces, ends, strict=True)
        if piece.learned and piece.text
    ]
    learned: list[tuple[int, int]] = []
    at = 0
    for place, (start, end) in enumerate(offsets):
        while at < len(ranges) and ranges[at][1] <= start:
            at += 1
        if at == len(ranges):
            break
        if end > ranges[at][0] and end > start:
            if learned and learned[-1][1] == place:
                learned[-1] = (learned[-1][0], place + 1)
            else:
                learned.append((place, place + 1))
    return TokenRow(ids=array("i", ids), learned=tuple(learned))


def cut(row: TokenRow, cutoff_len: int) -> TokenRow:
    """The row in at most ``cutoff_len`` tokens.

    It ends with the last learned range that fits whole. If the first does not fit, the end of what
    comes before it goes first, so that a part of the answer stays to be learned.
    """
    if len(row.ids) <= cutoff_len:
        return row
    whole = tuple(found for found in row.learned if found[1] <= cutoff_len)
    if whole:
        return TokenRow(ids=row.ids[: whole[-1][1]], learned=whole)
    if not row.learned:
        return TokenRow(ids=row.ids[:cutoff_len], learned=())
    start, end = row.learned[0]
    answer = row.ids[start:end][: max(cutoff_len // 2, cutoff_len - start)]
    question = row.ids[:start][: cutoff_len - len(answer)]
    return TokenRow(ids=question + answer, learned=((len(question), len(question) + len(answer)),))
