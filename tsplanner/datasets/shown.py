"""A row as a model will see it: its text with what carries loss, its tokens, and what is cut."""

from __future__ import annotations

import importlib
from array import array
from enum import StrEnum
from pathlib import Path
from typing import Any

from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rendering.pieces import Piece, Renderer, joined
from tsplanner.datasets.tokens.rows import Encode, TokenRow, cut, token_row
from tsplanner.errors import TsplannerError

IGNORED_LABEL = -100
"""Label of a token that carries no loss, as PyTorch's cross-entropy knows it."""


class Part(StrEnum):
    """What becomes of a stretch of a row."""

    READ = "read"
    """The model reads it, and no loss is taken from it."""
    LEARNED = "learned"
    """Its tokens carry loss."""
    CUT = "cut"
    """It is beyond cutoff_len."""
    SPEAKER = "speaker"
    """It names a speaker, and stands in place of a template that is not known."""


@frozen
class Stretch:
    """Consecutive text of one kind; the texts of all stretches, joined, are the rendered row."""

    text: str
    part: Part


@frozen
class ShownRow:
    """One row."""

    conversation: Conversation
    stretches: tuple[Stretch, ...]
    ids: array[int] | None = None
    """Token ids after the cut; None: there is no tokenizer."""
    labels: array[int] | None = None
    """The id of each token that carries loss, and -100 for the others."""
    tokens_cut: int = 0

    @property
    def learned_tokens(self) -> int:
        """Number of tokens that carry loss."""
        return sum(1 for label in self.labels or () if label != IGNORED_LABEL)


class RowViewer:
    """Shows rows for one model."""

    def __init__(self, renderer: Renderer, encode: Encode | None, cutoff_len: int) -> None:
        """``encode`` None: there is no tokenizer, so that nothing is known of tokens or cuts."""
        self.renderer, self._encode, self._cutoff_len = renderer, encode, cutoff_len

    def row(self, conversation: Conversation) -> ShownRow:
        """The row as the model will see it.

        Raises RowError: the model's template refuses the row.
        """
        pieces = self.renderer.pieces(conversation)
        if self._encode is None:
            bare = self.renderer.unknown_tokens > 0
            stretches = _by_turns(conversation, pieces) if bare else _by_pieces(pieces)
            return ShownRow(conversation=conversation, stretches=_merged(stretches))
        text = joined(pieces)
        ids, offsets = self._encode(text)
        whole = token_row(pieces, lambda _: (ids, offsets))
        # Places instead of ids tell which tokens the cut leaves.
        kept = cut(
            TokenRow(ids=array("i", range(len(ids))), learned=whole.learned), self._cutoff_len
        )
        parts = [Part.CUT] * len(ids)
        labels = array("i", [IGNORED_LABEL]) * len(kept.ids)
        for place in kept.ids:
            parts[place] = Part.READ
        for start, end in kept.learned:
            for at in range(start, end):
                place = kept.ids[at]
                parts[place] = Part.LEARNED
                labels[at] = ids[place]
        return ShownRow(
            conversation=conversation,
            stretches=_merged(_by_tokens(text, offsets, parts)),
            ids=array("i", (ids[place] for place in kept.ids)),
            labels=labels,
            tokens_cut=len(ids) - len(kept.ids),
        )


def _by_pieces(pieces: tuple[Piece, ...]) -> list[Stretch]:
    return [
        Stretch(text=piece.text, part=Part.LEARNED if piece.learned else Part.READ)
        for piece in pieces
    ]


def _by_turns(conversation: Conversation, pieces: tuple[Piece, ...]) -> list[Stretch]:
    """The texts alone, each behind its speaker: there is no template that would write them."""
    found = []
    if conversation.tools:
        found.append(Stretch(text=f"tools: {conversation.tools}\n", part=Part.SPEAKER))
    for place, turn in enumerate(conversation.turns):
        found.append(Stretch(text=f"{turn.role}: ", part=Part.SPEAKER))
        learned = any(piece.learned for piece in pieces if piece.turn == place)
        part = Part.LEARNED if learned else Part.READ
        thoughts = f"(thinks: {turn.thoughts}) " if turn.thoughts else ""
        calls = [f"(calls {call.name} with {call.arguments})" for call in turn.tool_calls]
        found.append(Stretch(text=thoughts + " ".join((turn.content, *calls)), part=part))
        found.append(Stretch(text="\n", part=Part.SPEAKER))
    return found or _by_pieces(pieces)


def _by_tokens(text: str, offsets: Any, parts: list[Part]) -> list[Stretch]:
    """The text at the ends of its tokens; what no token covers belongs to the token before it."""
    found, done = [], 0
    starts = [start for start, _ in offsets[1:]]
    for start, part in zip([*starts, len(text)], parts, strict=True):
        # Several tokens may share one character.
        if start > done:
            found.append(Stretch(text=text[done:start], part=part))
            done = start
    return found


def _merged(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    for each in stretches:
        if found and found[-1].part is each.part:
            found[-1] = Stretch(text=found[-1].text + each.text, part=each.part)
        elif each.text:
            found.append(each)
    return tuple(found)


def library_encode(folder: Path) -> Encode | None:
    """Ids and offsets by the folder's tokenizer.json; None where it or the library is missing.

    Raises TsplannerError: tokenizer.json is damaged.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        library = importlib.import_module("tokenizers")
    except ImportError:
        return None
    try:
        tokenizer = library.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise TsplannerError(f"{file} cannot be read ({error}); fetch the file again") from error
    # A tokenizer.json may ask for truncation and padding, which would hide the rows' own lengths.
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        found = tokenizer.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    return encode
