"""A page as data, before any language or format."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Block, Paragraph, Phrase, Table, Tone, words


def test_words_are_a_phrase_with_its_values() -> None:
    """The key and the values stay apart until a language is known."""
    found = words("title_runs", saves="here")
    assert found == Phrase(key="title_runs", values={"saves": "here"})
    assert words("not_known").values == {}


def test_a_phrase_inside_a_phrase_is_translated_with_it() -> None:
    """Both sentences are in the language of the reader."""
    text = words("difference", fact=words("fact_steps"), one="42", other=words("not_known"))
    assert translate(text, Language.EN) == "steps 42 and not known"
    assert translate(text, Language.ZH) == "步数 42 与 未知"


@pytest.mark.parametrize("block", get_args(Block))
def test_no_block_changes_once_it_is_made(block: type) -> None:
    """One page is rendered four times, so no renderer may change it."""
    blank = object.__new__(block)
    for each in fields(block):
        with pytest.raises(FrozenInstanceError):
            setattr(blank, each.name, None)


def test_a_paragraph_is_plain_unless_it_says_otherwise() -> None:
    """A tone colors a sentence, and most sentences have no color."""
    paragraph = Paragraph(text="as it is")
    assert paragraph.tone is Tone.PLAIN
    with pytest.raises(FrozenInstanceError):
        paragraph.tone = Tone.GOOD  # type: ignore[misc]
    assert Table(columns=(), rows=()).rows == ()
