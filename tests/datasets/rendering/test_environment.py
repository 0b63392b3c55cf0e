"""Templates render as transformers renders them, and show where their turns lie."""

from __future__ import annotations

import json

import pytest

from tests.support.shipped_templates import shipped_templates
from tests.support.templates import MARKED, ROWS, SPECIAL, TEMPLATES
from tests.support.transformers_templates import pinned_day, rendered_by_transformers
from tsplanner.datasets.rendering.environment import ChatTemplate
from tsplanner.datasets.rendering.messages import Style, messages_of
from tsplanner.datasets.rows.fields import RowError
from tsplanner.errors import TsplannerError

STYLES = (
    Style(),
    Style(content_in_parts=True),
    Style(arguments_as_text=True),
    Style(numbered_calls=True, knows_developer=False),
)


def differences(name: str, source: str) -> tuple[list[str], int]:
    """Rows that render in another way than transformers does, and how many render at all."""
    template = ChatTemplate(source, SPECIAL)
    found, rendered = [], 0
    for form, row in ROWS.items():
        tools = json.loads(row.tools) if row.tools else None
        for style in STYLES:
            messages = messages_of(row.turns, style)
            theirs = rendered_by_transformers(source, messages, tools, SPECIAL)
            try:
                text, marker = template.render_marked(messages, tools=tools)
                ours = text, marker.generations
            except RowError:
                ours = None
            if ours != theirs:
                found.append(f"{name}, {form}, {style}: {ours} and not {theirs}")
            rendered += ours is not None
    return found, rendered


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_row_renders_as_transformers_renders_it(name: str) -> None:
    """The text to the character, the generation blocks, and whether a row is refused."""
    with pinned_day():
        found, rendered = differences(name, TEMPLATES[name])
    assert found == []
    assert rendered >= 20


@pytest.mark.slow
def test_every_shipped_template_renders_as_transformers_renders_it() -> None:
    """More than a hundred templates of TRL and axolotl, each with fifteen rows in four styles."""
    templates = shipped_templates()
    assert len(templates) > 100
    with pinned_day():
        compared = [differences(name, source) for name, source in templates.items()]
    assert [each for found, _ in compared for each in found] == []
    assert sum(rendered for _, rendered in compared) > 4000


def test_marks_lie_inside_macros_and_kept_blocks() -> None:
    """Transformers counts what was written before, and so marks the wrong place in a macro."""
    source = (
        "{% macro said(m) %}<a>{% generation %}{{ m.content }}{% endgeneration %}</a>{% endmacro %}"
        "{% for m in messages %}{{ 'x' ~ said(m) }}{% endfor %}"
    )
    text, marker = ChatTemplate(source, {}).render_marked([{"content": "one"}, {"content": "two"}])
    assert [text[start:end] for start, end in marker.generations] == ["one", "two"]


def test_a_template_that_looks_at_its_own_text_keeps_no_marks() -> None:
    """The marks would change the length that it prints."""
    source = (
        "{% set all %}{% for m in messages %}{{ m.content }}{% endfor %}{% endset %}"
        "{{ all | length }}{{ all }}"
    )
    text, marker = ChatTemplate(source, {}).render_marked([{"content": "one"}])
    assert text == "3one"
    assert marker.turns == [None]


def test_what_a_template_says_of_itself() -> None:
    """Whether it marks what is generated, and whether it writes a date."""
    assert ChatTemplate(MARKED, {}).marks_generation
    assert not ChatTemplate(TEMPLATES["chatml"], {}).marks_generation
    assert ChatTemplate(TEMPLATES["llama"], {}).writes_date


def test_a_template_reaches_nothing_of_the_program() -> None:
    """The sandbox refuses attributes of Python's own, and lists cannot be changed."""
    template = ChatTemplate("{{ messages.append(1) }}", {})
    with pytest.raises(RowError, match="unsafe"):
        template.render([])
    with pytest.raises(RowError):
        ChatTemplate("{{ ''.__class__.__mro__[1].__subclasses__() }}", {}).render([])


def test_a_damaged_template_is_refused_by_name() -> None:
    """A bracket is missing."""
    with pytest.raises(TsplannerError, match="chat template cannot be read"):
        ChatTemplate("{% for m in messages %}", {})
