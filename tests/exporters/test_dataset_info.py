"""What LLaMA-Factory is told of a dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.golden import CHATTS_ROWS, case
from tsplanner.datasets.rows.first_rows import RowsSeen
from tsplanner.errors import TsplannerError
from tsplanner.exporters.llamafactory.tables import dataset_info


def described(rows: RowsSeen, *, series: bool = False) -> dict[str, Any]:
    """The one entry of dataset_info.json."""
    (entry,) = json.loads(dataset_info(case("qwen2.5-7b").plan, rows, "/d", series=series)).values()
    assert isinstance(entry, dict)
    return entry


def test_only_columns_that_rows_have_are_named() -> None:
    """A column that is missing would stop the trainer."""
    rows = RowsSeen(format="alpaca", columns=("instruction", "output"))
    assert described(rows)["columns"] == {"prompt": "instruction", "response": "output"}
    rows = replace(rows, columns=("instruction", "output", "system"))
    assert described(rows)["columns"]["system"] == "system"
    assert "timeseries" not in described(CHATTS_ROWS)["columns"]


def test_speakers_go_by_the_names_they_have() -> None:
    """And by one name a role."""
    rows = RowsSeen(format="messages", columns=("messages",), speakers=("assistant", "user"))
    tags = described(rows)["tags"]
    assert (tags["role_tag"], tags["user_tag"], tags["assistant_tag"]) == (
        "role",
        "user",
        "assistant",
    )
    with pytest.raises(TsplannerError, match="both human and user"):
        described(replace(rows, speakers=("gpt", "human", "user")))
