"""What editors and readers see of the keywords is what the parsers take."""

from __future__ import annotations

from tests.support import keywords


def test_the_types_for_editors_are_those_of_the_parsers() -> None:
    """After a change of flags: python -m tests.support.keywords."""
    assert keywords.MODULE.read_text(encoding="utf-8") == keywords.module()


def test_the_docs_list_every_keyword() -> None:
    """After a change of flags: python -m tests.support.keywords."""
    assert keywords.PAGE.read_text(encoding="utf-8") == keywords.page()


def test_the_docs_list_every_word_of_other_trainers() -> None:
    """After a change of the table: python -m tests.support.keywords."""
    assert keywords.SETTINGS_PAGE.read_text(encoding="utf-8") == keywords.settings_page()
