"""A row as a model will see it: its text with what carries loss, its tokens, and what is cut."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby

from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, LossOn
from tsplanner.datasets.rendering.pieces import Piece, Renderer, Unwritten, is_learned, joined
from tsplanner.datasets.tokens.rows import Encode, TokenRow, cut, token_row

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
    unwritten: tuple[Unwritten, ...] = ()
    """What the row says and the model's template does not write."""

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
        rendered = self.renderer.rendered(conversation)
        pieces = rendered.pieces
        if self._encode is None:
            bare = self.renderer.unknown_tokens > 0
            stretches = _by_pieces(pieces)
            if bare and conversation.turns:
                stretches = _by_turns(conversation, self.renderer.loss_on)
            return ShownRow(
                conversation=conversation,
                stretches=_merged(stretches),
                unwritten=rendered.unwritten,
            )
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
            unwritten=rendered.unwritten,
        )


def _by_pieces(pieces: tuple[Piece, ...]) -> list[Stretch]:
    return [
        Stretch(text=piece.text, part=Part.LEARNED if piece.learned else Part.READ)
        for piece in pieces
    ]


def _by_turns(conversation: Conversation, loss_on: LossOn) -> list[Stretch]:
    """The texts alone, each behind its speaker: there is no template that would write them."""
    found = []
    if conversation.tools:
        found.append(Stretch(text=f"tools: {conversation.tools}\n", part=Part.SPEAKER))
    for place, turn in enumerate(conversation.turns):
        found.append(Stretch(text=f"{turn.role}: ", part=Part.SPEAKER))
        learned = is_learned(conversation.turns, place, loss_on)
        part = Part.LEARNED if learned else Part.READ
        thoughts = f"(thinks: {turn.thoughts}) " if turn.thoughts else ""
        calls = [f"(calls {call.name} with {call.arguments})" for call in turn.tool_calls]
        found.append(Stretch(text=thoughts + " ".join((turn.content, *calls)), part=part))
        found.append(Stretch(text="\n", part=Part.SPEAKER))
    return found


def _by_tokens(
    text: str, offsets: Sequence[tuple[int, int]], parts: Sequence[Part]
) -> list[Stretch]:
    """The text at the ends of its tokens; what no token covers belongs to the token before it."""
    found, done, place = [], 0, 0
    for part, tokens in groupby(parts):
        place += len(list(tokens))
        end = offsets[place][0] if place < len(offsets) else len(text)
        # Several tokens may share one character.
        if end > done:
            found.append(Stretch(text=text[done:end], part=part))
            done = end
    return found


def _merged(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    for each in stretches:
        if found and found[-1].part is each.part:
            found[-1] = Stretch(text=found[-1].text + each.text, part=each.part)
        elif each.text:
            found.append(each)
    return tuple(found)
