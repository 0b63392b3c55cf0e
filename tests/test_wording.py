"""Templates: a number takes its noun in the right number, in every table of sentences."""

from __future__ import annotations

import re
import string

import pytest

from tsplanner.planner.explain.templates import TABLES
from tsplanner.report.messages.translate import Language, messages
from tsplanner.wording import NOUN, filled

BY_HAND = re.compile(
    r"\{(\w+)(?::,)?\} (?:other |such |more )?(?:steps|rows|epochs|trials|probes|GPUs|layers|runs"
    r"|files|cards|tokens|machines|processes|samples|passes|plans|evaluations)\b"
)
"""A number from data before a noun that is always in the plural."""


@pytest.mark.parametrize(
    ("template", "values", "words"),
    [
        ("{rows:row} kept", {"rows": 1}, "1 row kept"),
        ("{rows:row} kept", {"rows": 1200}, "1,200 rows kept"),
        ("{rows:row} kept", {"rows": "1,200"}, "1,200 rows kept"),
        ("{rows:row} kept", {"rows": "1"}, "1 row kept"),
        ("{rows:row} kept", {"rows": "20/40"}, "20/40 rows kept"),
        ("{count:other plan} failed", {"count": 2}, "2 other plans failed"),
        ("{passes:pass}", {"passes": 2}, "2 passes"),
        ("{have:GPU}", {"have": 1}, "1 GPU"),
        ("{ram:,.1f} GiB, {share:.0%}, {name}", {"ram": 1024, "share": 0.5, "name": "x"}, None),
    ],
)
def test_a_number_takes_its_noun(
    template: str, values: dict[str, object], words: str | None
) -> None:
    """And formats of Python are Python's."""
    assert filled(template, values) == (words or template.format(**values))


def test_a_missing_value_is_an_error() -> None:
    """As for Python's own format."""
    with pytest.raises(KeyError):
        filled("{rows:row}", {})


def test_no_template_has_a_plural_that_one_would_break() -> None:
    """``1 GPUs`` cannot be said, by the planner or by the report."""
    english = [words[0] for table in TABLES.values() for words in table.values()]
    english += messages(Language.EN).templates.values()
    assert [each for each in english if BY_HAND.search(each)] == []


def test_no_chinese_template_takes_an_english_noun() -> None:
    """It has measure words of its own."""
    chinese = [words[1] for table in TABLES.values() for words in table.values()]
    chinese += messages(Language.ZH).templates.values()
    nouns = [
        spec
        for each in chinese
        for _, _, spec, _ in string.Formatter().parse(each)
        if spec and NOUN.fullmatch(spec)
    ]
    assert nouns == []
