"""A model's own chat template, rendered as transformers renders it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tsplanner.datasets.records import Conversation, LossOn, Role, Turn
from tsplanner.datasets.rendering.pieces import Piece, Renderer, is_learned, joined
from tsplanner.datasets.rows.fields import RowError
from tsplanner.reading import decoded, read_text


class TemplateRenderer(Renderer):
    """Renders by a Jinja template, and finds each answer by rendering what comes before it."""

    def __init__(
        self, template: str, tokens: dict[str, str], loss_on: LossOn = LossOn.ASSISTANT
    ) -> None:
        """``tokens``: special tokens by the names that a template knows them by."""
        super().__init__(loss_on)
        self._template = _compiled(template)
        self._tokens = tokens
        self._in_parts = False

    def pieces(self, conversation: Conversation) -> tuple[Piece, ...]:
        """The rendered row; of an answer its text and the end of its turn carry loss."""
        if conversation.text is not None:
            eos = self._tokens.get("eos_token", "")
            return (Piece(text=conversation.text + eos, learned=True),)
        turns = conversation.turns
        whole = self._rendered(turns, conversation.tools)
        if turns[-1].content.strip() not in whole:
            # Templates of models that also see read the parts of a content.
            self._in_parts = not self._in_parts
            whole = self._rendered(turns, conversation.tools)
        found: list[Piece] = []
        for place, turn in enumerate(turns):
            if turn.role is not Role.ASSISTANT:
                continue
            before = self._rendered(turns[:place], conversation.tools, opened=True)
            after = self._rendered(turns[: place + 1], conversation.tools)
            done = len(joined(tuple(found)))
            if not (whole.startswith(before) and whole.startswith(after.rstrip())):
                begin = whole.find(turn.content, done)
                before = whole[:begin]
                after = (
                    before
                    + turn.content
                    + after[after.rfind(turn.content) :].removeprefix(turn.content)
                )
            end = len(after.rstrip())
            found.append(Piece(text=whole[done : len(before)], turn=place))
            learned = is_learned(turns, place, self.loss_on)
            found.append(Piece(text=whole[len(before) : end], learned=learned, turn=place))
        found.append(Piece(text=whole[len(joined(tuple(found))) :]))
        if self.loss_on is LossOn.ALL:
            return (Piece(text=whole, learned=True),)
        return tuple(piece for piece in found if piece.text)

    def _rendered(self, turns: tuple[Turn, ...], tools: str, *, opened: bool = False) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self._template.render(
                messages=[_message(turn, self._in_parts) for turn in turns],
                tools=json.loads(tools) if tools else None,
                add_generation_prompt=opened,
                **self._tokens,
            )
        except TemplateError as error:
            raise RowError(f"the model's chat template refuses the row: {error}") from error
        return text


def template_of(folder: Path) -> str | None:
    """The chat template of a tokenizer's folder; None: it has none."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return read_text(own)
    found = _config(folder).get("chat_template")
    return found if isinstance(found, str) else None


def special_tokens(folder: Path) -> dict[str, str]:
    """Special tokens of a tokenizer's folder by name: ``bos_token``, ``eos_token``, …"""
    found = {}
    for name, value in _config(folder).items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[name] = text
    return found


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    found = decoded(read_text(file)) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def _message(turn: Turn, in_parts: bool) -> dict[str, Any]:
    """A turn as templates read it."""
    content = [{"type": "text", "text": turn.content}] if in_parts else turn.content
    found: dict[str, Any] = {"role": str(turn.role), "content": content}
    if turn.tool_calls:
        found["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in turn.tool_calls
        ]
    if turn.thoughts:
        found["reasoning_content"] = turn.thoughts
    if turn.name:
        found["name"] = turn.name
    return found


def _compiled(template: str) -> Any:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(
        value, ensure_ascii=False, **options
    )
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(template)
