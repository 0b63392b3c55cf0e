"""Rows joined from fixed texts are those that the template renders in full."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.support.shipped_templates import shipped_templates
from tests.support.templates import ROWS, SPECIAL, TEMPLATES, chat
from tsplanner.datasets.records import Conversation, LossOn, Role, Turn
from tsplanner.datasets.rendering.pieces import Rendered, is_learned
from tsplanner.datasets.rendering.shapes import ROWS_BEFORE_PROOF
from tsplanner.datasets.rendering.template import TemplateRenderer
from tsplanner.datasets.rows.fields import RowError
from tsplanner.errors import TsplannerError

RENDERERS = {name: TemplateRenderer(source, SPECIAL) for name, source in TEMPLATES.items()}
SPICE = (
    *("<think>", "</think>", "<tool_response>", "</tool_response>", "<|channel|>", "<|im_end|>"),
    *("user", "assistant", "text", "image", "tool_calls", "\n", " ", "\t", "\u3000", "{{", "}}"),
    *("\ufdd0", "</s>", "[INST]", "\\n", '"', "/nothink", "\r\n", "\x00"),
)
CONTENTS = some.lists(some.sampled_from(SPICE) | some.text(max_size=5), max_size=6).map("".join)
ROLES = some.sampled_from([Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT])
WEIGHTS = some.sampled_from([None, None, True, False])
TURNS = some.builds(Turn, role=ROLES, content=CONTENTS, learned=WEIGHTS)
CHATS = some.lists(TURNS, min_size=1, max_size=6).map(lambda turns: chat(*turns))
EXCHANGES = some.lists(some.tuples(CONTENTS, CONTENTS), min_size=1, max_size=3).map(
    lambda pairs: chat(
        *(
            Turn(role=role, content=text)
            for pair in pairs
            for role, text in zip((Role.USER, Role.ASSISTANT), pair, strict=True)
        )
    )
)


def in_full(renderer: TemplateRenderer, row: Conversation) -> Rendered | str:
    """The row by Jinja, or why it is refused."""
    learned = [is_learned(row.turns, at, renderer.loss_on) for at in range(len(row.turns))]
    try:
        return renderer.in_full(row, tuple(learned))
    except RowError as error:
        return str(error)


def quickly(renderer: TemplateRenderer, row: Conversation) -> Rendered | str:
    """The row as the product renders it once it knows the shape."""
    try:
        for _ in range(ROWS_BEFORE_PROOF):
            found = renderer.rendered(row)
        return found
    except RowError as error:
        return str(error)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(row=CHATS | EXCHANGES)
def test_the_quick_way_gives_what_jinja_gives(name: str, row: Conversation) -> None:
    """Whatever a row holds: marks, the words that templates look for, white space, nothing."""
    assert quickly(RENDERERS[name], row) == in_full(RENDERERS[name], row)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_kind_of_row_agrees(name: str) -> None:
    """Rows with tools and thoughts take the full way."""
    for loss_on in LossOn:
        renderer = TemplateRenderer(TEMPLATES[name], SPECIAL, loss_on)
        for row in ROWS.values():
            assert quickly(renderer, row) == in_full(renderer, row)


@pytest.mark.parametrize("name", TEMPLATES)
def test_plain_rows_are_not_rendered_again_and_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few rows of the same roles no Jinja is needed, in any of these templates."""
    renderer = TemplateRenderer(TEMPLATES[name], SPECIAL)
    first, second = ROWS["three exchanges"], ROWS["other writing"]
    for row in (first, second) * ROWS_BEFORE_PROOF:
        renderer.rendered(row)
    monkeypatch.setattr(renderer, "_plain", None)
    assert renderer.rendered(first).pieces
    assert renderer.rendered(second).pieces


def test_white_space_that_a_template_strips_is_stripped_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Llama's strips, ChatML's keeps it; the end of an answer stays where it is."""
    for name in ("llama", "chatml"):
        renderer = TemplateRenderer(TEMPLATES[name], SPECIAL)
        row = ROWS["white space"]
        found = in_full(renderer, row)
        for _ in range(ROWS_BEFORE_PROOF):
            renderer.rendered(row)
        monkeypatch.setattr(renderer, "_plain", None)
        assert renderer.rendered(row) == found


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(rows=some.lists(EXCHANGES, min_size=3, max_size=3))
def test_shipped_templates_agree_too(rows: list[Conversation]) -> None:
    """Those of TRL and axolotl."""
    for renderer in _shipped():
        for row in rows:
            assert quickly(renderer, row) == in_full(renderer, row)


_SHIPPED: list[TemplateRenderer] = []


def _shipped() -> list[TemplateRenderer]:
    for source in shipped_templates().values() if not _SHIPPED else ():
        try:
            _SHIPPED.append(TemplateRenderer(source, SPECIAL))
        except TsplannerError:
            continue
    return _SHIPPED
