"""Rows as tokens: what is learned, and what a cut leaves."""

from __future__ import annotations

from array import array

from tsplanner.datasets.rendering.pieces import Piece
from tsplanner.datasets.tokens.rows import TokenRow, cut, token_row


def in_pairs(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """A token for every two characters."""
    starts = range(0, len(text), 2)
    return list(starts), [(start, min(start + 2, len(text))) for start in starts]


def test_a_token_that_holds_a_learned_character_is_learned() -> None:
    """Learned are the characters 3 to 6: the tokens of 2-3, 4-5 and 6-7."""
    pieces = (
        Piece(text="abc"),
        Piece(text="defg", learned=True),
        Piece(text="hijk"),
        Piece(text="l", learned=True),
    )
    row = token_row(pieces, in_pairs)
    assert list(row.ids) == [0, 2, 4, 6, 8, 10]
    assert row.learned == ((1, 4), (5, 6))
    assert row.learned_tokens == 4


def test_a_cut_keeps_whole_answers() -> None:
    """Ten tokens with answers at 2-4 and 7-10: in eight only the first fits whole."""
    row = TokenRow(ids=array("i", range(10)), learned=((2, 4), (7, 10)))
    assert cut(row, 10) == row
    assert cut(row, 8) == TokenRow(ids=array("i", range(4)), learned=((2, 4),))


def test_a_cut_inside_the_first_exchange_keeps_a_part_of_the_answer() -> None:
    """Of 6 + 6 tokens in 8, half are left to the answer: 4 of the question, 4 of the answer."""
    row = TokenRow(ids=array("i", range(12)), learned=((6, 12),))
    found = cut(row, 8)
    assert list(found.ids) == [0, 1, 2, 3, 6, 7, 8, 9]
    assert found.learned == ((4, 8),)
