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


def figures(text: str) -> list[str]:
    """Numbers as they are written, without a comma that ends a clause."""
    return [found.rstrip(",") for found in FIGURE.findall(text)]


def table_rows(text: str) -> list[str]:
    """Lines of tables, rules apart."""
    return [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]


def command_blocks(text: str) -> list[str]:
    """Lines of what a person types or sees."""
    return [
        line
        for block in re.findall(r"^```\n(.*?)^```", text, flags=re.M | re.S)
        for line in block.splitlines()
    ]


@pytest.mark.parametrize("row", [row for row in table_rows(CHINESE) if figures(row)])
def test_every_table_row_has_the_figures_of_an_english_row(row: str) -> None:
    """A figure that was measured anew is changed on both pages, or this fails."""
    rows = {tuple(figures(line)) for line in table_rows(ENGLISH)}
    assert tuple(figures(row)) in rows


def test_every_figure_stands_on_the_english_page() -> None:
    """Also those between the tables."""
    known = set(figures(ENGLISH))
    assert [found for found in figures(CHINESE) if found not in known] == []


def test_what_is_typed_and_seen_is_the_same() -> None:
    """Commands and output are those of the English page, remarks behind them apart."""
    known = {line.partition("#")[0].rstrip() for line in command_blocks(ENGLISH)}
    said = [line.partition("#")[0].rstrip() for line in command_blocks(CHINESE)]
    assert [line for line in said if line not in known] == []


def test_both_pages_link_to_each_other_and_to_what_is_there() -> None:
    """No link of the Chinese page leads nowhere."""
    assert "(README.zh-CN.md)" in ENGLISH
    assert "(README.md)" in CHINESE
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", CHINESE):
        assert (ROOT / target).exists(), target


def test_every_verb_has_its_line() -> None:
    """The table of verbs is whole."""
    for verb in VERBS:
        assert f"`tsplanner {verb}`" in CHINESE
