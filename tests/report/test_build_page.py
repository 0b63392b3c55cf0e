"""The page as data: sections, cells, charts."""

from __future__ import annotations

from pathlib import Path

from tests.support.hand_made import summary, trained
from tests.support.pages import blocks_of, page_of
from tsplanner.report.page import Table


def test_a_page_of_several_runs_has_every_section(tmp_path: Path) -> None:
    """In the order of a reader's questions; what compares nothing is left out."""
    page = page_of(trained(tmp_path), summary("b", remarks=("The record says 24 GB.",)))
    assert [section.name for section in page.sections] == [
        "headline",
        "results",
        "advice",
        "model",
        "curves",
        "memory",
        "plans",
        "records",
        "about",
    ]


def test_a_page_of_one_run_compares_nothing_and_lists_its_settings(tmp_path: Path) -> None:
    """The row is turned on its side, the learning settings are listed."""
    page = page_of(trained(tmp_path))
    names = [section.name for section in page.sections]
    assert names == [
        *("headline", "results", "advice", "curves", "memory", "plans", "learning", "about")
    ]
    (table, *_) = blocks_of(page, "results")
    assert isinstance(table, Table)
    assert table.rows[0][1] == "a"
    assert len(table.rows) == 18


def test_a_page_without_runs_says_so() -> None:
    """No empty table, no chart of nothing."""
    page = page_of()
    assert [section.name for section in page.sections] == ["about", "results"]
