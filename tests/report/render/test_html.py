"""The page as one HTML file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import Nesting, everything
from tsplanner.report.messages.translate import Language
from tsplanner.report.render.html import html


@pytest.mark.parametrize("language", Language)
def test_html_is_well_formed_and_needs_nothing_else(tmp_path: Path, language: Language) -> None:
    """Tags close, nothing is fetched, nothing runs, and names stay names."""
    text = html(everything(tmp_path), language, "other.html")
    parser = Nesting()
    parser.feed(text)
    assert parser.open == []
    assert "script" not in parser.seen
    assert "iframe" not in parser.seen
    assert all(found.startswith("#") or found == "other.html" for found in parser.addresses)
    assert "http" not in text.lower()
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#stripes"}
    assert f'<html lang="{language}">' in text
    assert not re.search(r"\b(section|column|fact|part|curve)_[a-z_]+", text)


def test_english_sentences_say_so_on_the_chinese_page(tmp_path: Path) -> None:
    """What a plan or a record says is in English on both."""
    text = html(everything(tmp_path), Language.ZH)
    assert '<li><span lang="en">&lt;script&gt;' in text
    assert '<span lang="en">' not in html(everything(tmp_path), Language.EN)
