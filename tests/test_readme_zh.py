"""The Chinese front page says what the English one says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tsplanner.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
FIGURE = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e-\d+)?")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
MOST_LINES = 120


def figures(text: str) -> list[str]:
    """Numbers as they are written, without a comma that ends a clause."""
    return [found.rstrip(",") for found in FIGURE.findall(text)]


def table_rows(text: str) -> list[str]:
    """Lines of tables, rules apart."""
    return [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]


def rows_with_figures(text: str) -> list[tuple[str, ...]]:
    """Figures of each table row that has any."""
    return [tuple(found) for row in table_rows(text) if (found := figures(row))]


def command_blocks(text: str) -> list[str]:
    """Lines of what a person types or sees."""
    return [
        line
        for block in re.findall(r"^```\n(.*?)^```", text, flags=re.M | re.S)
        for line in block.splitlines()
    ]


def typed_and_seen(text: str) -> list[str]:
    """Lines of the blocks without the remarks behind commands."""
    return [line.partition("#")[0].rstrip() for line in command_blocks(text)]


@pytest.mark.parametrize("row", [row for row in table_rows(CHINESE) if figures(row)])
def test_every_table_row_has_the_figures_of_an_english_row(row: str) -> None:
    """A figure that was measured anew is changed on both pages, or this fails."""
    rows = {tuple(figures(line)) for line in table_rows(ENGLISH)}
    assert tuple(figures(row)) in rows


def test_no_row_with_figures_of_the_english_page_is_missing() -> None:
    """Both pages show the same measurements, in the same order."""
    assert rows_with_figures(CHINESE) == rows_with_figures(ENGLISH)


def test_every_figure_stands_on_the_english_page() -> None:
    """Also those between the tables."""
    known = set(figures(ENGLISH))
    assert [found for found in figures(CHINESE) if found not in known] == []


def test_what_is_typed_and_seen_is_the_same() -> None:
    """Commands and output are those of the English page, remarks behind them apart."""
    assert typed_and_seen(CHINESE) == typed_and_seen(ENGLISH)


def test_both_pages_link_to_each_other_and_to_what_is_there() -> None:
    """No link of the Chinese page leads nowhere."""
    assert "(README.zh-CN.md)" in ENGLISH
    assert "(README.md)" in CHINESE
    for target in LINK.findall(CHINESE):
        assert (ROOT / target).exists(), target


def test_both_pages_link_to_the_same_pages() -> None:
    """What a reader can find from one page is found from the other."""
    others = {"README.md", "README.zh-CN.md"}
    assert set(LINK.findall(CHINESE)) - others == set(LINK.findall(ENGLISH)) - others


def test_the_page_is_as_short_as_the_english_one_must_be() -> None:
    """A front door is read in a minute."""
    assert len(CHINESE.splitlines()) <= MOST_LINES


def test_every_verb_has_its_line() -> None:
    """The table of verbs is whole."""
    for verb in VERBS:
        assert f"`tsplanner {verb}`" in CHINESE
