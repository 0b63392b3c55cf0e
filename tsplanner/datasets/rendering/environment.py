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

from tsplanner.datasets.records import Fault
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

        The marks stand in the text while it is rendered, so that they are right inside macros and
        blocks that are kept for later. A template that looks at what it has written could render
        other text with marks than without; nothing is known of its turns then.

        Raises RowError: the template refuses them; the text has the template's own words.
        """
        text, marker = self._read(messages, tools, prompt, MARKS[0])
        if text is not None and not marker.are_kept:
            return text, marker
        # The row holds the sign of marks, or the template keeps a text with marks and may look at
        # it: then the text without marks is the one that counts.
        plain = self.render(messages, tools=tools, prompt=prompt)
        if text is None:
            free = next((mark for mark in MARKS if mark not in plain), MARKS[0])
            text, marker = self._read(messages, tools, prompt, free)
        if text != plain:
            marker.forget()
        return plain, marker

    def _read(
        self, messages: Sequence[Message], tools: list[Any] | None, prompt: bool, mark: str
    ) -> tuple[str | None, Marker]:
        marker = Marker(messages, mark)
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


def _body(kept: bool, caller: Callable[[], str]) -> str:
    return caller()
