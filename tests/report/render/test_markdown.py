"""The page as Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import everything
from tsplanner.report.messages.translate import Language
from tsplanner.report.render.markdown import markdown_page


@pytest.mark.parametrize("language", Language)
def test_markdown_tables_have_as_many_cells_as_headings(tmp_path: Path, language: Language) -> None:
    """Bars and stars in names do not make cells or emphasis."""
    text = markdown_page(everything(tmp_path), language)
    widths = set()
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        rows = [re.split(r"(?<!\\)\|", line) for line in table.splitlines()]
        assert len({len(row) for row in rows}) == 1, table
        widths.add(len(rows[0]) - 2)
    assert 18 in widths
    assert re.search(r"(?<!\\)[<>*]", text.replace("**", "")) is None
