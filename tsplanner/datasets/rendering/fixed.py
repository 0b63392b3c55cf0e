"""Renderers without a template of the model's folder: ChatTS's ChatML, headings, bare texts.

Source of the ChatTS template: the chat template published with ChatTS (August 2025 and later).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tsplanner.datasets.records import Conversation, LossOn, Role, Turn
from tsplanner.datasets.rendering.pieces import Piece, Renderer, is_learned
from tsplanner.datasets.rows.checks import PLACEHOLDER
from tsplanner.datasets.series_encoding import series_prefix

CHAT_TEMPLATE_TOKENS = 45
"""Tokens that a chat template adds to one question and its answer.

Source: the templates of Qwen, Llama 3, Gemma and Mistral, which add 8 to 45 tokens. Ignores: a
longer built-in system text.
"""
HEADINGS = {
    Role.SYSTEM: "",
    Role.DEVELOPER: "",
    Role.USER: "### Question:\n",
    Role.ASSISTANT: "### Answer:\n",
    Role.TOOL: "### Tool:\n",
}
CHATML_SYSTEM = "You are a helpful assistant."


class PlainRenderer(Renderer):
    """Plain headings, for base models without a template."""

    def __init__(self, eos: str, loss_on: LossOn = LossOn.ASSISTANT) -> None:
        """``eos``: the text of the token that ends an answer."""
        super().__init__(loss_on)
        self._eos = eos

    def pieces(self, conversation: Conversation) -> tuple[Piece, ...]:
        """Headings and texts; an answer ends with the end token."""
        if conversation.text is not None:
            return (Piece(text=conversation.text + self._eos, learned=True),)
        return tuple(self._turns(conversation.turns))

    def _turns(self, turns: tuple[Turn, ...]) -> Iterator[Piece]:
        whole = self.loss_on is LossOn.ALL
        for place, turn in enumerate(turns):
            between = "\n\n" if place else ""
            yield Piece(text=between + HEADINGS[turn.role], learned=whole, turn=place)
            end = self._eos if turn.role is Role.ASSISTANT else ""
            learned = is_learned(turns, place, self.loss_on)
            yield Piece(text=turn.content + end, learned=learned, turn=place)


class BareRenderer(Renderer):
    """The texts of the turns alone, to estimate lengths where the model's template is not known."""

    unknown_tokens = CHAT_TEMPLATE_TOKENS

    def pieces(self, conversation: Conversation) -> tuple[Piece, ...]:
        """A piece per turn."""
        if conversation.text is not None:
            return (Piece(text=conversation.text, learned=True),)
        turns = conversation.turns
        return tuple(
            Piece(text=turn.content, learned=is_learned(turns, place, self.loss_on), turn=place)
            for place, turn in enumerate(turns)
        )


class ChatTSRenderer(Renderer):
    """ChatML with ChatTS's system text, and the figures of a series before each of its marks."""

    def pieces(self, conversation: Conversation) -> tuple[Piece, ...]:
        """Turns with their marks; the line end after an answer's mark carries no loss."""
        if conversation.text is not None:
            return (Piece(text=conversation.text + "<|im_end|>", learned=True),)
        return tuple(self._turns(with_figures(conversation).turns))

    def _turns(self, turns: tuple[Turn, ...]) -> Iterator[Piece]:
        whole = self.loss_on is LossOn.ALL
        if turns[0].role not in (Role.SYSTEM, Role.DEVELOPER):
            yield Piece(text=f"<|im_start|>system\n{CHATML_SYSTEM}<|im_end|>\n", learned=whole)
        for place, turn in enumerate(turns):
            role = Role.SYSTEM if turn.role is Role.DEVELOPER else turn.role
            yield Piece(text=f"<|im_start|>{role}\n", learned=whole, turn=place)
            learned = is_learned(turns, place, self.loss_on)
            yield Piece(text=f"{turn.content}<|im_end|>", learned=learned, turn=place)
            yield Piece(text="\n", turn=place)


def with_figures(conversation: Conversation) -> Conversation:
    """The conversation with the figures of each series before its mark."""
    if not conversation.timeseries:
        return conversation
    series = iter(conversation.timeseries)
    turns = []
    for turn in conversation.turns:
        first, *rest = turn.content.split(PLACEHOLDER)
        # The checks of a row have dropped every row with another number of marks than series.
        text = first + "".join(series_prefix(next(series)) + PLACEHOLDER + each for each in rest)
        turns.append(replace(turn, content=text))
    return replace(conversation, turns=tuple(turns))
