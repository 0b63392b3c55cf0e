"""What a template looks for in contents."""

from __future__ import annotations

import pytest

from tsplanner.datasets.rendering.environment import ChatTemplate
from tsplanner.datasets.rendering.literals import Literals, literals_of


def found(source: str) -> Literals:
    """The literals of a template."""
    return literals_of(ChatTemplate(source, {}).tree, {"eos_token": "</s>"})


@pytest.mark.parametrize(
    ("source", "inside"),
    [
        ("{{ 'a' if '<t>' in m.content else 'b' }}", "<t>"),
        ("{{ m.content.split('<t>')[0] }}", "<t>"),
        ("{{ m.content.startswith('<t>') }}", "<t>"),
        ("{{ m.content | replace('<t>', '') }}", "<t>"),
        ("{{ 'a' if m.content[:3] == '<t>' else 'b' }}", "<t>"),
        ("{% set t = '<t>' %}{{ 'a' if t in m.content else 'b' }}", "<t>"),
        ("{% for t in ['<t>'] %}{{ 'a' if t in m.content else 'b' }}{% endfor %}", "<t>"),
        ("{% macro a(t, c) %}{{ 'a' if t in c else '' }}{% endmacro %}{{ a('<t>', m.c) }}", "<t>"),
        ("{% macro a(c, t='<t>') %}{{ 'a' if t in c else '' }}{% endmacro %}{{ a(m.c) }}", "<t>"),
        ("{{ 'a' if eos_token in m.content else 'b' }}", "</s>"),
    ],
)
def test_texts_that_are_looked_for_are_found(source: str, inside: str) -> None:
    """By whatever name they go."""
    assert inside in found(source).inside


def test_what_is_only_written_or_compared_whole_is_not_looked_for() -> None:
    """A content that holds "user" is no role."""
    seen = found("{% if m.role == 'user' %}<|user|>{% endif %}{{ '<t>' + m.content | trim }}")
    assert seen.inside == ()
    assert "user" in seen.equal


def test_characters_taken_from_the_ends_are_found() -> None:
    """Line ends as Qwen3 takes them."""
    assert found("{{ m.content.lstrip('\\n').strip('\"') }}").at_ends == frozenset('\n"')
