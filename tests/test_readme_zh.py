"""The Chinese front page and how-to say what the English ones say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tsplanner.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]
TAG = ".zh-CN.md"
PAIRS = [
    (path.with_name(path.name.replace(TAG, ".md")), path)
    for folder in (ROOT, ROOT / "docs")
    for path in sorted(folder.glob(f"*{TAG}"))
]
"""An English page and the same in Chinese."""
FRONT = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^(#+) (?:(\d+)\. )?", flags=re.M)
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


def without_blocks(text: str) -> str:
    """A page without what a person types or sees."""
    return re.sub(r"^```\n.*?^```", "", text, flags=re.M | re.S)


def typed_and_seen(text: str) -> list[str]:
    """Lines of the blocks without the remarks behind commands."""
    return [line.partition("#")[0].rstrip() for line in command_blocks(text)]


def read(path: Path) -> str:
    """What a page says."""
    return path.read_text(encoding="utf-8")


def targets(page: Path) -> set[str]:
    """Pages that a page links to, each under the name of its English version, itself apart."""
    found = {link.replace(TAG, ".md") for link in LINK.findall(read(page))}
    return found - {page.name.replace(TAG, ".md")}


pairs = pytest.mark.parametrize(
    ("english", "chinese"), PAIRS, ids=[chinese.name for _, chinese in PAIRS]
)


def test_the_front_page_and_the_first_hour_are_there_in_chinese() -> None:
    """A reader of Chinese comes from the front page to a trained adapter."""
    names = {str(chinese.relative_to(ROOT)) for _, chinese in PAIRS}
    assert names == {"README.zh-CN.md", "docs/quickstart.zh-CN.md"}
    assert "(docs/quickstart.zh-CN.md)" in FRONT
    assert "(docs/quickstart.md" not in FRONT


@pairs
def test_every_table_row_has_the_figures_of_an_english_row(english: Path, chinese: Path) -> None:
    """Both pages show the same measurements, in the same order; one changed is changed twice."""
    assert rows_with_figures(read(chinese)) == rows_with_figures(read(english))


@pairs
def test_every_figure_stands_on_the_english_page(english: Path, chinese: Path) -> None:
    """Also those between the tables."""
    known = set(figures(read(english)))
    assert [found for found in figures(read(chinese)) if found not in known] == []


@pairs
def test_what_is_typed_and_seen_is_the_same(english: Path, chinese: Path) -> None:
    """Commands and output are those of the English page, remarks behind them apart."""
    assert typed_and_seen(read(chinese)) == typed_and_seen(read(english))


@pairs
def test_both_pages_have_the_same_sections(english: Path, chinese: Path) -> None:
    """Depth and number of each heading; a section that is added is added twice."""
    ours, theirs = (
        [found.groups() for found in HEADING.finditer(without_blocks(read(page)))]
        for page in (chinese, english)
    )
    assert ours == theirs


@pairs
def test_both_pages_link_to_each_other_and_to_what_is_there(english: Path, chinese: Path) -> None:
    """No link of the Chinese page leads nowhere."""
    assert f"({chinese.name})" in read(english)
    assert f"({english.name})" in read(chinese)
    for target in LINK.findall(read(chinese)):
        assert (chinese.parent / target).exists(), target


@pairs
def test_both_pages_link_to_the_same_pages(english: Path, chinese: Path) -> None:
    """What a reader can find from one page is found from the other."""
    assert targets(chinese) == targets(english)


def test_the_page_is_as_short_as_the_english_one_must_be() -> None:
    """A front door is read in a minute."""
    assert len(FRONT.splitlines()) <= MOST_LINES


def test_every_verb_has_its_line() -> None:
    """The table of verbs is whole."""
    for verb in VERBS:
        assert f"`tsplanner {verb}`" in FRONT
