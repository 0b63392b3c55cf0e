"""A rendered row is cut into the pieces of its turns."""

from __future__ import annotations

from tsplanner.datasets.rendering.loss import pieces_of
from tsplanner.datasets.rendering.pieces import Piece

TEXT = "<s>[q]hi[a]yes</a>\n"
SPANS = ((3, 8), (8, 19))
ASKED, ANSWERED = (6, 8, 0), (11, 18, 1)


def test_what_carries_loss_is_a_piece_of_its_own() -> None:
    """What belongs to no turn is one as well."""
    assert pieces_of(TEXT, SPANS, iter([ANSWERED]), (False, True), whole=False) == (
        Piece(text="<s>"),
        Piece(text="[q]hi", turn=0),
        Piece(text="[a]", turn=1),
        Piece(text="yes</a>", learned=True, turn=1),
        Piece(text="\n", turn=1),
    )


def test_the_whole_row_carries_loss_but_for_turns_taken_out() -> None:
    """The heading of such a turn is not learned either."""
    pieces = pieces_of(TEXT, SPANS, iter([ASKED]), (True, False), whole=True)
    assert [piece.text for piece in pieces if piece.learned] == ["<s>", "[q]hi"]


def test_turns_of_unknown_place_get_their_parts_all_the_same() -> None:
    """The template wrote them outside of its loops."""
    pieces = pieces_of(TEXT, (None, None), iter([ANSWERED]), (False, True), whole=False)
    assert pieces == (
        Piece(text="<s>[q]hi[a]"),
        Piece(text="yes</a>", learned=True, turn=1),
        Piece(text="\n"),
    )
