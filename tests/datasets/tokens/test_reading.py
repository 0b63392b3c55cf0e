"""Rows as they are trained on: which are kept, cut and noted, and which leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.rows import ENCODER
from tests.support.tokenizer_files import byte_level, saved
from tsplanner.datasets.records import DataSource, DroppedRow, Fault, LossOn, ReadJob
from tsplanner.datasets.tokens.reading import KeptRow, RowReader


def read(
    folder: Path, *rows: dict[str, Any], cutoff_len: int = 64, **changes: Any
) -> list[KeptRow | DroppedRow]:
    """The rows under a tokenizer of single bytes without a template."""
    saved(byte_level(vocabulary=256), folder)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"encoder": None, "tokenizer_folder": str(folder), **changes}
    job = ReadJob(source=DataSource(paths=(str(path),)), cutoff_len=cutoff_len, **given)
    reader = RowReader(job)
    return list(reader.rows(reader.raw.rows()))


def dialogue(*answers: str, learned: bool = True) -> dict[str, Any]:
    """Questions of one letter, each with an answer."""
    turns = []
    for answer in answers:
        turns.append({"role": "user", "content": "q"})
        turns.append({"role": "assistant", "content": answer, "weight": int(learned)})
    return {"messages": turns}


def test_a_long_dialogue_ends_with_its_last_whole_answer(tmp_path: Path) -> None:
    """The headings are 14 and 13 bytes, a line end 2 each: the first exchange takes 36."""
    (row,) = read(tmp_path, dialogue("answer", "another one"), cutoff_len=64)
    assert isinstance(row, KeptRow)
    assert row.cut.endswith("1 of 2 answers left")
    assert row.text_tokens == len(row.tokens.ids) == row.tokens.learned[-1][1]
    assert row.text_tokens < 64


def test_a_long_first_answer_is_cut_inside(tmp_path: Path) -> None:
    """Nothing whole fits, and some of the answer stays."""
    (row,) = read(tmp_path, dialogue("a" * 100), cutoff_len=50)
    assert isinstance(row, KeptRow)
    assert row.cut.endswith("cut to 50, inside answer 1 of 1")
    assert row.tokens.learned_tokens >= 20


def test_a_row_without_loss_leaves(tmp_path: Path) -> None:
    """Every answer has the weight 0."""
    (row,) = read(tmp_path, dialogue("answer", learned=False))
    assert isinstance(row, DroppedRow)
    assert row.fault is Fault.NOTHING_LEARNED


def test_loss_lies_where_the_job_says(tmp_path: Path) -> None:
    """On every answer, or on the last alone."""
    row = {"messages": [turn | {} for turn in dialogue("one", "two")["messages"]]}
    for turn in row["messages"]:
        turn.pop("weight", None)
    (all_answers,) = read(tmp_path, row, cutoff_len=200)
    (last,) = read(tmp_path, row, cutoff_len=200, loss_on=LossOn.LAST)
    assert isinstance(all_answers, KeptRow)
    assert isinstance(last, KeptRow)
    assert (len(all_answers.tokens.learned), len(last.tokens.learned)) == (2, 1)


def test_equal_rows_have_equal_digests_and_bare_answers_are_noted(tmp_path: Path) -> None:
    """The order of the fields does not count; the text and the series do."""
    one = {"instruction": "a", "output": "b"}
    same = {"output": "b", "instruction": "a"}
    rows = read(tmp_path, one, same, {"instruction": "a", "output": "..."})
    kept = [row for row in rows if isinstance(row, KeptRow)]
    assert kept[0].digest == kept[1].digest != kept[2].digest
    assert [row.bare for row in kept] == [False, False, True]


def test_a_row_with_series_is_never_cut(tmp_path: Path) -> None:
    """Its text is one token too long."""
    row = {"input": "<ts><ts/>" + "a" * 300, "output": "Up.", "timeseries": [[1.0, 2.0]]}
    (found,) = read(tmp_path, row, cutoff_len=128, encoder=ENCODER)
    assert isinstance(found, DroppedRow)
    assert found.fault is Fault.OVER_CUTOFF
