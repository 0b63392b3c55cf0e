"""The first sections: the results of all runs, and what the page is."""

from __future__ import annotations

from pathlib import Path

from tests.support.hand_made import summary, trained
from tests.support.pages import blocks_of, page_of
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Table

EN = Language.EN


def test_a_row_says_what_was_run_and_what_came_of_it(tmp_path: Path) -> None:
    """Eighteen figures, each formatted once: three losses, two peaks in GiB, one time."""
    page = page_of(trained(tmp_path, model="m-7b", parameters=7_000_000_000), summary("b"))
    (table, *_) = blocks_of(page, "results")
    assert isinstance(table, Table)
    assert [translate(cell, EN) for cell in table.rows[0]] == [
        "#1 a",
        "m-7b (7B)",
        "lora",
        "fp32",
        "1x Card X",
        "4",
        "4",
        "0.005",
        "2",
        "10",
        "1.609",
        "0.4730",
        "0.1800",
        "0.4100",
        "1",
        "16.0",
        "17.0",
        "2 min",
    ]
    assert [translate(cell, EN) for cell in table.rows[1]][-3:] == ["-", "-", "20 min"]
