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
from jinja2.visitor import NodeTransformer

from tsplanner.datasets.records import Fault
from tsplanner.datasets.rendering.marks import Marker
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
        call = nodes.Call(nodes.Name("generation_", "load"), [], [], None, None)
        return nodes.CallBlock(call, [], [], body).set_lineno(line)


class _TurnMarks(NodeTransformer):
    """Puts a mark where a round of a loop begins that may write a turn, and one after each loop."""

    def __init__(self) -> None:
        self._loops = 0

    def visit_For(self, node: nodes.For) -> list[nodes.Node]:  # noqa: N802 jinja2 names it
        """A loop with its marks; loops inside it get theirs too."""
        self._loops += 1
        number = self._loops
        self.generic_visit(node)
        every = (node.target, *node.target.find_all(nodes.Name))
        names = {each.name for each in every if isinstance(each, nodes.Name)}
        node.body.insert(0, _mark(number, *sorted(names)))
        # Some templates count through the turns: for i in range(...), set turn = turns[i].
        for at, step in enumerate(node.body):
            if name := _taken_by_number(step, names):
                node.body.insert(at + 1, _mark(number, name))
                break
        return [node, _mark(number)]


def _taken_by_number(step: nodes.Node, numbers: set[str]) -> str | None:
    """The name that a step gives to ``anything[number]``; None: it does something else."""
    if not (isinstance(step, nodes.Assign) and isinstance(step.target, nodes.Name)):
        return None
    number = step.node.arg if isinstance(step.node, nodes.Getitem) else None
    is_number = isinstance(number, nodes.Name) and number.name in numbers
    return step.target.name if is_number else None


def _mark(loop: int, *names: str) -> nodes.Output:
    values = [nodes.Const(loop), *(nodes.Name(name, "load") for name in names)]
    return nodes.Output([nodes.Call(nodes.Name("turn_", "load"), values, [], None, None)])


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
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(
            raise_exception=_raise, strftime_now=_date, dict=_PlainDict(), namespace=Namespace
        )
        try:
            self.tree = environment.parse(source)
            self._plain = environment.from_string(source)
            marked = _TurnMarks().visit(environment.parse(source))
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
        other text with marks than without; `Marker.spans` is empty then.

        Raises RowError: the template refuses them; the text has the template's own words.
        """
        text = self.render(messages, tools=tools, prompt=prompt)
        marker = Marker(messages, text)
        functions: Functions = {"generation_": marker.generation, "turn_": marker.turn}
        found = self._run(self._marked, messages, tools, prompt, functions)
        marker.read(found)
        return text, marker

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


def _body(caller: Callable[[], str]) -> str:
    return caller()
