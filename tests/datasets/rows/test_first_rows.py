"""What the first rows of a dataset show."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.golden import CHATTS_ROWS
from tsplanner.datasets.rows.first_rows import RowsSeen, rows_seen


def test_first_rows_tell_format_columns_and_speakers(tmp_path: Path) -> None:
    """Of a JSON array as of lines; a broken row is the reader's business."""
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    lines = tmp_path / "rows.jsonl"
    lines.write_text(
        f"{json.dumps({'conversations': turns})}\n{{broken\n"
        f"{json.dumps({'conversations': turns, 'system': 's'})}\n"
    )
    assert rows_seen(lines) == RowsSeen(
        format="sharegpt", columns=("conversations", "system"), speakers=("gpt", "human")
    )
    array = tmp_path / "rows.json"
    array.write_text(json.dumps([{"input": "a", "output": "b", "timeseries": []}]))
    assert rows_seen(array) == CHATTS_ROWS
