"""What is found out about a chat template by rendering conversations made for that."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from tsplanner.datasets.records import Role, ToolCall, Turn
from tsplanner.datasets.rendering.answers import prompt_of, shared_start
from tsplanner.datasets.rendering.environment import PINNED_DATE, ChatTemplate
from tsplanner.datasets.rendering.marks import Marker
from tsplanner.datasets.rendering.messages import Style, messages_of
from tsplanner.datasets.rows.fields import RowError
from tsplanner.errors import TsplannerError

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
    None: (ASKED,),
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
        inside, outside = self._found_ends()
        self.ends_outside = "" if inside else outside
        """The mark that stops the model where the template writes it behind the turn: at the end of
        the row, or where the next turn begins."""
        self.ends = inside or outside
        """The mark that stops the model, wherever it stands; empty: the template writes none."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided about the rows of this template."""
        found = []
        if self.template.writes_date:
            found.append(
                f"The chat template writes today's date; all rows get {PINNED_DATE:%Y-%m-%d}, so "
                "that trainings on other days learn the same."
            )
        if not self.ends:
            found.append(
                "The chat template writes no mark at the end of an answer, so that the model does "
                "not learn where to stop."
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
            if len(rest) < len(turns) and self._takes(rest, tools, self.style):
                raise RowError(
                    f"{error}; put the system text at the start of the first question", error.fault
                ) from error
            raise

    def prompts(self, role: Role | None) -> tuple[str, ...]:
        """How an answer begins after a turn of ``role``: as a model is asked, and as it is written.

        The same for every row, so that two workers find the same loss.
        """
        if role not in self._prompts:
            try:
                self._prompts[role] = self._found_prompts(BEFORE[role], role)
            except RowError:
                # Such turns cannot stand before an answer; in a row that has them all the same,
                # the answer begins as after a question.
                self._prompts[role] = () if role is Role.USER else self.prompts(Role.USER)
        return self._prompts[role]

    @property
    def prompts_go_on(self) -> frozenset[str]:
        """First characters of what prompts have and finished answers lack.

        In an answer that begins with one of them the prompt may reach into its text: those of
        DeepSeek-R1 open thoughts.
        """
        found = set()
        for role in BEFORE:
            prompt, *written = self.prompts(role) or ("",)
            found |= {prompt[shared_start(prompt, each) :][:1] for each in written}
        return frozenset(found)

    def _found_prompts(self, before: tuple[Turn, ...], role: Role | None) -> tuple[str, ...]:
        tools = TOOLS if role is Role.TOOL else None
        messages = messages_of(before, self.style)
        opened, marker = self.template.render_marked(messages, tools=tools, prompt=True)
        finished = self.template.render(messages, tools=tools)
        end = marker.turns[-1][1] if marker.turns[-1] else len(opened)
        prompt = prompt_of(opened, finished, end)
        text, marker = self.render((*before, ANSWERED), tools)
        span = marker.turns[-1]
        if not (prompt and span):
            # A model that is given no prompt writes the beginning of the turn itself.
            return (prompt,)
        return prompt, text[span[0] : max(span[0], text.find(ANSWERED.content, *span))]

    def _found_ends(self) -> tuple[str, str]:
        """What follows the text of an answer in its turn, and behind it where that is nothing."""
        try:
            text, marker = self.render((ASKED, ANSWERED), None)
        except RowError:
            return ANSWERED.content, ""
        said = text.rfind(ANSWERED.content) + len(ANSWERED.content)
        end = marker.turns[-1][1] if marker.turns[-1] else len(text)
        return text[said:end].strip(), text[end:].rstrip()

    def _takes(self, turns: tuple[Turn, ...], tools: list[Any] | None, style: Style) -> bool:
        try:
            self.template.render(messages_of(turns, style), tools=tools)
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
        fitting = [each for each in styles if self._writes(asked, each)]
        if not fitting and self._takes(asked, None, styles[0]):
            raise TsplannerError(
                "the model's chat template does not write what is asked and answered; put a "
                "template that reads `messages` into chat_template.jinja of the tokenizer's folder"
            )
        fitting = fitting or styles
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
