"""Chat templates compiled as transformers compiles them, and a rendering that shows the turns.

Source: transformers 5.24, `utils/chat_template_utils.py`: a sandboxed environment with
``trim_blocks``, ``lstrip_blocks`` and loop controls, a ``tojson`` that escapes no HTML, and the
functions ``raise_exception`` and ``strftime_now``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from tsplanner.datasets.records import Fault, Role
from tsplanner.datasets.rendering.marks import MARKS, Marker, WithMarks
from tsplanner.datasets.rendering.messages import Message
from tsplanner.datasets.rows.fields import RowError
from tsplanner.errors import TsplannerError

PINNED_DATE = datetime(2024, 7, 26)
"""What `strftime_now` gives: two trainings of the same rows must not differ by the day on which
they run. Llama 3.1's own template writes this date where it is told none."""


Functions = Mapping[str, Callable[..., str]]
"""What the blocks and marks of a template call, by name."""


class _GenerationBlock(Extension):
    """``{% generation %}``: a template's own mark of what the assistant writes."""

    tags = {"generation"}  # noqa: RUF012 jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        """The block as a call, because transformers gives it the scope of one."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        kept = [nodes.Const(False)]
        call = nodes.Call(nodes.Name("generation_", "load"), kept, [], None, None)
        return nodes.CallBlock(call, [], [], body).set_lineno(line)


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that reads the keys of messages without looking for methods of that name."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """What ``obj.attribute`` is: the same as in every sandbox, found sooner."""
        if obj.__class__ is dict and attribute in obj and attribute not in _OF_DICTS:
            return obj[attribute]
        return super().getattr(obj, attribute)


_OF_DICTS = frozenset(dir(dict))


class _PlainDict:
    """``dict`` of a template: it makes dictionaries, and has no other door."""

    def __call__(self, *values: Any, **named: Any) -> dict[Any, Any]:
        return dict(*values, **named)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: Any) -> None:
    raise TemplateError(str(message))


def _date(form: str) -> str:
    return PINNED_DATE.strftime(form)


class ChatTemplate:
    """A compiled chat template with the special tokens that it may write."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """Raises TsplannerError: the template is no valid one; the text says where."""
        self.source = source
        self.special_tokens = dict(special_tokens)
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(
            raise_exception=_raise, strftime_now=_date, dict=_PlainDict(), namespace=Namespace
        )
        try:
            self.tree = environment.parse(source)
            self._plain = environment.from_string(source)
            marked = WithMarks().visit(environment.parse(source))
            self._marked = environment.from_string(marked)
        except Exception as error:  # a template may fail in any way, in the parser or its compiler
            raise TsplannerError(
                f"the chat template cannot be read ({error!s:.200}); "
                "fetch the model's tokenizer files again"
            ) from error

        names = {each.name for each in self.tree.find_all(nodes.Name)}
        self.marks_generation = "generation_" in names
        """Whether the template itself marks what the assistant writes."""
        self.writes_date = "strftime_now" in names

    def render(
        self, messages: Sequence[Message], *, tools: list[Any] | None = None, prompt: bool = False
    ) -> str:
        """The text of a conversation; with ``prompt`` also the start of the next answer.

        Raises RowError: the template refuses them; the text has the template's own words.
        """
        return self._run(self._plain, messages, tools, prompt, {"generation_": _body})

    def render_marked(
        self, messages: Sequence[Message], *, tools: list[Any] | None = None, prompt: bool = False
    ) -> tuple[str, Marker]:
        """The text, and where the turns and the template's own generation blocks lie in it.

        The marks stand in the text while it is rendered. A template cannot look at what it has
        given out, but at a text that it keeps, such as a macro's; those get marks only where an
        answer is not found without, and count only if the text stays the same.

        Raises RowError: the template refuses them; the text has the template's own words.
        """
        for mark in MARKS:
            text, marker = self._read(messages, tools, prompt, Marker(messages, mark))
            if text is None:  # the row holds the sign of marks
                continue
            if marker.is_lacking and _lacks_answers(messages, marker, self.marks_generation):
                kept = Marker(messages, mark, in_kept=True)
                again, kept = self._read(messages, tools, prompt, kept)
                return text, kept if again == text else marker
            return text, marker
        return self.render(messages, tools=tools, prompt=prompt), Marker(messages)

    def _read(
        self, messages: Sequence[Message], tools: list[Any] | None, prompt: bool, marker: Marker
    ) -> tuple[str | None, Marker]:
        functions: Functions = {"generation_": marker.generation, "turn_": marker.turn}
        found = self._run(self._marked, messages, tools, prompt, functions)
        return marker.read(found), marker

    def _run(
        self,
        template: Any,
        messages: Sequence[Message],
        tools: list[Any] | None,
        prompt: bool,
        functions: Functions,
    ) -> str:
        try:
            return str(
                template.render(
                    messages=list(messages),
                    tools=tools,
                    documents=None,
                    add_generation_prompt=prompt,
                    **self.special_tokens,
                    **functions,
                )
            )
        except Exception as error:  # templates call methods of anything that a row holds
            words = str(error) or type(error).__name__
            reason = f"the model's chat template refuses the row: {words}"
            raise RowError(reason, Fault.TEMPLATE) from error


def _lacks_answers(messages: Sequence[Message], marker: Marker, marks_generation: bool) -> bool:
    """Whether it is not known of every answer where it lies."""
    pairs = zip(messages, marker.turns, strict=True)
    return marks_generation or any(
        span is None and message.get("role") == Role.ASSISTANT for message, span in pairs
    )


def _body(kept: bool, caller: Callable[[], str]) -> str:
    return caller()
