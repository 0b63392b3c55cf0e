"""Rows of ChatTS from a table, in one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_options import data_options
from tsplanner.commands.parts.series_rows import make_rows
from tsplanner.datasets.records import OnBad
from tsplanner.datasets.rows.readers import read_conversations
from tsplanner.datasets.series.table import Columns
from tsplanner.datasets.series.windows import Recipe
from tsplanner.datasets.written import RowForm
from tsplanner.errors import TsplannerError, UsageError

GOOD = "day,flow\n2024-01-01,1\n2024-01-02,5\n2024-01-03,2\n2024-01-04,7\n2024-01-05,3\n"
GAPS = "day,flow\n2024-01-01,1\n2024-01-02,\n2024-01-04,2\n2024-01-05,7\n2024-01-06,high\n"


def table(folder: Path, text: str) -> Path:
    """Write a table."""
    path = folder / "pump.csv"
    path.write_text(text)
    return path


def recipe(**changes: Any) -> Recipe:
    """Windows of two days, whose answer is the place of the largest value."""
    given: dict[str, Any] = {
        "columns": Columns(values=("flow",), time="day"),
        "window": 2,
        "question": "Peak?",
        "answer": "At point {flow_max_at}.",
        **changes,
    }
    return Recipe(**given)


def made(path: Path, target: Path | None = None, **options: Any) -> int:
    """Make rows of a table."""
    given = {"convert": target, "form": RowForm.CHATTS, **options}
    return make_rows(data_options(path, **given), recipe())


def test_a_table_becomes_rows_that_our_reader_reads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What was made is said, and the next command can be pasted."""
    target = tmp_path / "rows.jsonl"
    assert made(table(tmp_path, GOOD), target, model="tiny-chatts") == 0
    said = capsys.readouterr().out
    assert "5 points · 2 rows, 2 points each" in said
    assert "1 point is in no row" in said
    assert "⟦At point 2.<|im_end|>⟧" in said
    assert said.endswith(
        f"wrote 2 rows to {target}\nNext   tsplanner plan --model tiny-chatts --dataset {target}\n"
    )
    rows = list(read_conversations(target))
    assert [row.timeseries for row in rows] == [((1.0, 5.0),), ((2.0, 7.0),)]
    assert [row.turns[1].content for row in rows] == ["At point 2.", "At point 2."]


def test_cells_that_cannot_be_used_are_named_and_their_windows_left_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A gap, a word, and a day that is missing between lines 3 and 4."""
    assert made(table(tmp_path, GAPS)) == 0
    said = capsys.readouterr().out
    assert 'line 3: column "flow" is empty, a gap in the series' in said
    assert 'line 6: column "flow" holds "high", which is not a usable number' in said
    assert "left out 1 row, value not a usable number: line 2 (lines 2 to 3: line 3 has" in said
    assert "1 step of day differs from the usual one (line 4)" in said


def test_a_table_with_such_cells_can_be_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """With the first cell and their number."""
    target = tmp_path / "rows.jsonl"
    with pytest.raises(TsplannerError) as error:
        made(table(tmp_path, GAPS), target, on_bad_rows=OnBad.REFUSE)
    assert "pump.csv:3: " in str(error.value)
    assert "the first of 2 cells that cannot be used" in str(error.value)
    assert not target.exists()


def test_a_table_that_gives_no_row_says_why(tmp_path: Path) -> None:
    """Too few points for a window, or nothing that can be used."""
    with pytest.raises(TsplannerError, match="it has 1 point, and a window has 2"):
        made(table(tmp_path, "day,flow\n2024-01-01,1\n"))
    with pytest.raises(TsplannerError, match=r"gives no row: column .* a gap"):
        made(table(tmp_path, "day,flow\n2024-01-01,\n2024-01-02,\n"))


def test_json_says_the_same_with_ids_and_labels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One document, its rows a line each."""
    assert made(table(tmp_path, GAPS), as_json=True, model="tiny-chatts") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["points"], document["rows_made"], document["points_in_no_row"]) == (5, 1, 1)
    assert [flaw["line"] for flaw in document["flaws"]] == [3, 6]
    (row,) = document["rows"]
    assert row["series_points"] == [2]
    assert len(row["input_ids"]) == len(row["labels"])


def test_a_model_that_reads_no_series_is_refused(tmp_path: Path) -> None:
    """And a step without a window is a wrong call."""
    with pytest.raises(UsageError, match="reads no series"):
        made(table(tmp_path, GOOD), model="qwen2.5-0.5b")
    options = data_options(table(tmp_path, GOOD))
    with pytest.raises(UsageError, match="give --window as well"):
        make_rows(options, recipe(window=None, step=2))
