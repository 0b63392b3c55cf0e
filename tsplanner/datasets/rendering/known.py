"""What is found out about a chat template by rendering conversations made for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from tsplanner.datasets.records import Role, ToolCall, Turn
from tsplanner.datasets.rendering.answers import prompt_of
from tsplanner.datasets.rendering.environment import PINNED_DATE, ChatTemplate
from tsplanner.datasets.rendering.marks import Marker
from tsplanner.datasets.rendering.messages import Style, messages_of
from tsplanner.datasets.rows.formats import RowError

TOLD_TO = Turn(role=Role.SYSTEM, content="tsplanner orders")
ASKED = Turn(role=Role.USER, content="tsplanner asks")
ANSWERED = Turn(role=Role.ASSISTANT, content="tsplanner answers")
CALLED = Turn(
    role=Role.ASSISTANT, tool_calls=(ToolCall(name="tsplanner_calls", arguments='{"valve": 7}'),)
)
REPORTED = Turn(role=Role.TOOL, content="tsplanner is told", name="tsplanner_calls")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "tsplanner_calls",
            "description": "Opens a valve.",
            "parameters": {
                "type": "object",
                "properties": {"valve": {"type": "integer", "description": "Its number."}},
            },
        },
    }
]
BEFORE: Mapping[Role | None, tuple[Turn, ...]] = {
    None: (),
    Role.SYSTEM: (TOLD_TO,),
    Role.DEVELOPER: (TOLD_TO,),
    Role.USER: (ASKED,),
    Role.ASSISTANT: (ASKED, ANSWERED),
    Role.TOOL: (ASKED, CALLED, REPORTED),
}
"""Turns that may stand before an answer, by the role of the last of them."""


class KnownTemplate:
    """A chat template, the style in which it is given rows, and how it begins an answer."""

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        """Raises TsplannerError: the template is no valid one."""
        self.template = ChatTemplate(source, tokens)
        self.style = self._found_style()
        self._prompts: dict[Role | None, tuple[str, ...]] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided about the rows of this template."""
        found = []
        if self.template.writes_date:
            found.append(
                f"The chat template writes today's date; all rows get {PINNED_DATE:%Y-%m-%d}, so "
                "that trainings on other days learn the same."
            )
        if self._takes((ASKED, ANSWERED), None):
            text, _ = self.render((ASKED, ANSWERED), None)
            if text.rstrip().endswith(ANSWERED.content):
                found.append(
                    "The chat template writes no mark at the end of an answer, so that the model "
                    "does not learn where to stop."
                )
        return tuple(found)

    def render(self, turns: tuple[Turn, ...], tools: list[Any] | None) -> tuple[str, Marker]:
        """The text of a row, and where its turns lie.

        Raises RowError: the template refuses the row; the text has the template's own words.
        """
        try:
            return self.template.render_marked(messages_of(turns, self.style), tools=tools)
        except RowError as error:
            rest = tuple(t for t in turns if t.role not in (Role.SYSTEM, Role.DEVELOPER))
            if len(rest) < len(turns) and self._takes(rest, tools):
                raise RowError(
                    f"{error}; put the system text at the start of the first question"
                ) from error
            raise

    def prompts(self, role: Role | None) -> tuple[str, ...]:
        """How an answer begins after a turn of ``role``: as a model is asked, and as it is written.

        The same for every row, so that two workers find the same loss.
        """
        if role not in self._prompts:
            self._prompts[role] = tuple(self._found_prompts(role))
        return self._prompts[role]

    def _found_prompts(self, role: Role | None) -> Iterator[str]:
        before = BEFORE[role]
        tools = TOOLS if role is Role.TOOL else None
        try:
            if before:
                messages = messages_of(before, self.style)
                opened, marker = self.template.render_marked(messages, tools=tools, prompt=True)
                finished = self.template.render(messages, tools=tools)
                end = marker.turns[-1][1] if marker.turns[-1] else len(opened)
                yield prompt_of(opened, finished, end)
            text, marker = self.render((*before, ANSWERED), tools)
        except RowError:
            yield from () if role is Role.USER else self.prompts(Role.USER)
            return
        if span := marker.turns[-1]:
            begin = text[span[0] : max(span[0], text.find(ANSWERED.content, *span))]
            # White space alone is no prompt: a model that gets none writes it itself.
            yield begin if begin.strip() else ""

    def _takes(self, turns: tuple[Turn, ...], tools: list[Any] | None) -> bool:
        try:
            self.template.render(messages_of(turns, self.style), tools=tools)
        except RowError:
            return False
        return True

    def _found_style(self) -> Style:
        knows = "developer" in self.template.source
        styles = [
            Style(
                content_in_parts=parts,
                arguments_as_text=as_text,
                numbered_calls=numbered,
                knows_developer=knows,
            )
            for parts, numbered, as_text in product((False, True), repeat=3)
        ]
        asked, called = (ASKED, ANSWERED), (ASKED, CALLED, REPORTED, ANSWERED)
        fitting = [each for each in styles if self._writes(asked, each)] or styles
        return next((each for each in fitting if self._writes(called, each)), fitting[0])

    def _writes(self, turns: tuple[Turn, ...], style: Style) -> bool:
        """Whether the contents and calls of turns are found in the text."""
        tools = TOOLS if CALLED in turns else None
        try:
            text = self.template.render(messages_of(turns, style), tools=tools)
        except RowError:
            return False
        said = [turn.content for turn in turns] + [c.name for t in turns for c in t.tool_calls]
        return all(each in text for each in said)
