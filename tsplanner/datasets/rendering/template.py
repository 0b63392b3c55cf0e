"""A model's own chat template: rows as it writes them, and where their loss lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tsplanner.datasets.records import Conversation, Fault, LossOn
from tsplanner.datasets.rendering.folder import TemplateTexts
from tsplanner.datasets.rendering.known import KnownTemplate
from tsplanner.datasets.rendering.literals import literals_of
from tsplanner.datasets.rendering.loss import MarkedRow, own_parts, pieces_of
from tsplanner.datasets.rendering.pieces import (
    Piece,
    Rendered,
    Renderer,
    Unwritten,
    is_learned,
)
from tsplanner.datasets.rendering.shapes import Shapes
from tsplanner.datasets.rendering.unwritten import unwritten
from tsplanner.datasets.rows.fields import RowError


class TemplateRenderer(Renderer):
    """Renders by a Jinja template; loss lies where the template's own marks or its turns say."""

    def __init__(
        self,
        texts: TemplateTexts | str,
        tokens: Mapping[str, str],
        loss_on: LossOn = LossOn.ASSISTANT,
    ) -> None:
        """``tokens``: special tokens by the names that a template knows them by.

        Raises TsplannerError: a template is no valid one.
        """
        super().__init__(loss_on)
        if isinstance(texts, str):
            texts = TemplateTexts(default=texts, tool_use=texts)
        self._eos = tokens.get("eos_token", "")
        self.begin = ""
        """Text of the token that the tokenizer puts before a text that no template begins."""
        self._plain = KnownTemplate(texts.default, tokens)
        same = texts.tool_use == texts.default
        self._with_tools = self._plain if same else KnownTemplate(texts.tool_use, tokens)
        literals = literals_of(self._plain.template.tree, tokens)
        at_ends = literals.at_ends | self._plain.prompts_go_on
        self._shapes = Shapes(self.in_full, replace(literals, at_ends=at_ends))
        self.notes = self._plain.notes

    def rendered(self, conversation: Conversation) -> Rendered:
        """The row by the template; a row of plain text gets the end token and no template."""
        if conversation.text is not None:
            text = Piece(text=self._text(conversation.text), learned=True)
            return self.begun(Rendered(pieces=(text,)))
        turns = conversation.turns
        learned = tuple(is_learned(turns, place, self.loss_on) for place in range(len(turns)))
        return self._shapes.rendered(conversation, learned)

    def begun(self, row: Rendered) -> Rendered:
        """A row behind the begin token, if the tokenizer has one."""
        return replace(row, pieces=(Piece(text=self.begin), *row.pieces)) if self.begin else row

    def _text(self, text: str) -> str:
        return text.removesuffix(self._eos) + self._eos

    def in_full(self, row: Conversation, learned: tuple[bool, ...]) -> Rendered:
        """The row with turns as Jinja renders it; ``learned`` says which turns carry loss."""
        known = self._with_tools if row.tools else self._plain
        tools = _tools(row)
        text, marker = known.render(row.turns, tools)
        bare = None if tools is None else known.render(row.turns, None)[0]
        left_out = unwritten(text, row, marker.turns, bare)
        if Unwritten.CALLS in left_out and not marker.generations:
            # Without its call such a turn would teach to say nothing; a template's own marks count.
            learned = tuple(
                own and not (turn.tool_calls and not turn.content.strip())
                for own, turn in zip(learned, row.turns, strict=True)
            )
        marked = MarkedRow(text=text, marker=marker, turns=row.turns, tools=tools)
        parts = own_parts(marked, known, learned)
        whole = self.loss_on is LossOn.ALL
        pieces = pieces_of(text, marker.turns, parts, learned, whole=whole)
        return Rendered(pieces=pieces, unwritten=left_out)


def _tools(row: Conversation) -> list[Any] | None:
    """The definitions of the tools of a row; None: it has none."""
    try:
        found = json.loads(row.tools) if row.tools else None
    except (ValueError, RecursionError) as error:
        reason = f"the definitions of the tools are no JSON ({error})"
        raise RowError(reason, Fault.CALL) from error
    return found or None
