"""What is found out about a template."""

from __future__ import annotations

import pytest

from tests.support.templates import SPECIAL, TEMPLATES
from tsplanner.datasets.records import Role
from tsplanner.datasets.rendering.known import KnownTemplate
from tsplanner.datasets.rendering.messages import Style
from tsplanner.errors import TsplannerError


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("chatml", Style(knows_developer=False)),
        ("vision", Style(content_in_parts=True, knows_developer=False)),
        ("deepseek", Style(arguments_as_text=True, knows_developer=False)),
        ("mistral", Style(numbered_calls=True, knows_developer=False)),
        ("channels", Style()),
    ],
)
def test_a_template_is_given_rows_as_it_reads_them(name: str, style: Style) -> None:
    """Parts, arguments as text, ids of calls, developers: each is tried."""
    assert KnownTemplate(TEMPLATES[name], SPECIAL).style == style


def test_prompts_are_known_for_every_turn_before() -> None:
    """DeepSeek's template closes the answers of tools; what cannot stand there is as a question."""
    known = KnownTemplate(TEMPLATES["deepseek"], SPECIAL)
    assert known.prompts(Role.USER) == ("<|Assistant|><think>\n", "<|Assistant|>")
    assert known.prompts(Role.TOOL)[0] == "<|told|>"
    gemma = KnownTemplate(TEMPLATES["gemma"], SPECIAL)
    assert gemma.prompts(Role.SYSTEM) == gemma.prompts(Role.USER) == ("<turn>model\n",) * 2


def test_an_end_behind_the_turn_is_known() -> None:
    """Some templates write it where the next turn begins; the others inside the turn."""
    assert KnownTemplate(TEMPLATES["bracketed"], {}).ends_outside == "<|eom|>"
    assert KnownTemplate(TEMPLATES["phi"], SPECIAL).ends_outside == ""


def test_a_template_that_writes_nothing_of_a_row_is_refused() -> None:
    """It reads another variable."""
    with pytest.raises(TsplannerError, match="does not write what is asked and answered"):
        KnownTemplate("{% for m in conversations or [] %}{{ m.content }}{% endfor %}", {})
