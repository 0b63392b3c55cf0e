"""A rendered row: consecutive pieces of text, each with or without loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum

from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, LossOn, Role, Turn


@frozen
class Piece:
    """A stretch of a rendered row; the texts of all pieces, joined, are the row."""

    text: str
    learned: bool = False
    """Whether its tokens carry loss."""
    turn: int | None = None
    """Place of the turn that it belongs to, counted from 0; None: none alone."""


class Unwritten(StrEnum):
    """What a row says and the model's template does not write."""

    SYSTEM = "system text"
    TURN = "a turn"
    TOOLS = "definitions of tools"
    CALLS = "calls of tools"
    THOUGHTS = "thoughts"


@frozen
class Rendered:
    """A row as the model reads it."""

    pieces: tuple[Piece, ...]
    unwritten: tuple[Unwritten, ...] = ()
    """What the template left out, each kind once."""


class Renderer(ABC):
    """Renders conversations for one model."""

    unknown_tokens: int = 0
    """Tokens of a row that the pieces lack because the model's template is not known."""

    def __init__(self, loss_on: LossOn = LossOn.ASSISTANT) -> None:
        self.loss_on = loss_on
        self.notes: tuple[str, ...] = ()
        """What had to be guessed or decided, a sentence each."""

    @abstractmethod
    def rendered(self, conversation: Conversation) -> Rendered:
        """The row as consecutive pieces, and what the template left out.

        Raises RowError: the model's template refuses the row.
        """

    def pieces(self, conversation: Conversation) -> tuple[Piece, ...]:
        """The row as consecutive pieces; raises RowError as `rendered` does."""
        return self.rendered(conversation).pieces


def is_learned(turns: tuple[Turn, ...], place: int, loss_on: LossOn) -> bool:
    """Whether a turn carries loss: as the row says, otherwise as ``loss_on`` does."""
    turn = turns[place]
    if turn.learned is not None:
        return turn.learned
    if loss_on is LossOn.ALL:
        return True
    if turn.role is not Role.ASSISTANT:
        return False
    later = turns[place + 1 :]
    return loss_on is LossOn.ASSISTANT or not any(t.role is Role.ASSISTANT for t in later)


def joined(pieces: tuple[Piece, ...]) -> str:
    """The whole text of a row."""
    return "".join(piece.text for piece in pieces)
