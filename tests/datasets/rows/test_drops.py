"""The log of dropped rows: its counts and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rows import chatts, stats
from tsplanner.datasets.records import DroppedKind, DroppedRow, Fault
from tsplanner.datasets.rows.drops import DropLog


def place(row: DroppedRow) -> str:
    """Where a row of these tests stands."""
    return f"rows.jsonl:{row.line}"


def test_a_list_of_an_earlier_scan_goes_when_nothing_is_dropped(tmp_path):
    """A fixed file has no list of bad rows any more."""
    path, listed = tmp_path / "rows.jsonl", tmp_path / "dropped.txt"
    path.write_bytes(chatts("a", "b", [1.0]) + b"\n{}\n")
    stats(path, dropped_file=listed)
    assert listed.read_text().startswith(f"{path}:2: has no field that is not null")
    path.write_bytes(chatts("a", "b", [1.0]))

    stats(path, dropped_file=listed)

    assert not listed.exists()


def test_drops_are_counted_by_fault_and_the_first_lines_are_named(tmp_path: Path) -> None:
    """Seven rows without an answer and one that is no JSON: five lines of the seven are named."""
    with DropLog(place, None) as log:
        log.add(DroppedRow(line=1, fault=Fault.NOT_JSON, reason="is not JSON"))
        for line in range(2, 9):
            reason = f"the output of line {line} is empty"
            log.add(DroppedRow(line=line, fault=Fault.EMPTY_ANSWER, reason=reason))
    assert (log.rows, log.bad_rows) == (8, 8)
    assert log.kinds() == (
        DroppedKind(
            fault="empty answer",
            rows=7,
            first_lines=(2, 3, 4, 5, 6),
            example="the output of line 2 is empty",
        ),
        DroppedKind(fault="not JSON", rows=1, first_lines=(1,), example="is not JSON"),
    )
    assert list(tmp_path.iterdir()) == []


def test_text_over_the_cutoff_is_counted_but_is_no_bad_row(tmp_path: Path) -> None:
    """The owner of the dataset has nothing to fix there."""
    with DropLog(place, None) as log:
        log.add(DroppedRow(line=3, fault=Fault.OVER_CUTOFF, reason="9 tokens"))
        assert (log.rows, log.bad_rows, log.first_bad) == (1, 0, None)
        log.add(DroppedRow(line=5, fault=Fault.NOT_JSON, reason="is not JSON"))
    assert (log.rows, log.bad_rows) == (2, 1)
    assert log.first_bad is not None
    assert log.first_bad.line == 5


def test_at_most_a_hundred_rows_are_held_while_all_are_written(tmp_path: Path) -> None:
    """A file of bad rows alone must not fill memory."""
    target = tmp_path / "lists" / "dropped.txt"
    with DropLog(place, target) as log:
        for line in range(1, 151):
            log.add(DroppedRow(line=line, fault=Fault.NOT_JSON, reason="is not JSON"))
        assert not target.exists()
    assert [row.line for row in log.first] == list(range(1, 101))
    written = target.read_text().splitlines()
    assert len(written) == 150
    assert written[149] == "rows.jsonl:150: is not JSON"


def test_the_list_of_an_earlier_scan_stays_when_a_scan_fails(tmp_path: Path) -> None:
    """Neither deleted nor replaced by half a list, and no hidden file is left."""
    target = tmp_path / "dropped.txt"
    target.write_text("the earlier list\n")
    with pytest.raises(OSError, match="gone"), DropLog(place, target):
        raise OSError("gone")
    log = DropLog(place, target)
    log.add(DroppedRow(line=1, fault=Fault.NOT_JSON, reason="is not JSON"))
    with pytest.raises(OSError, match="gone"), log:
        raise OSError("gone")
    assert target.read_text() == "the earlier list\n"
    assert [path.name for path in tmp_path.iterdir()] == ["dropped.txt"]
