"""The rows of an export: which, how they are split, and what stands in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from memory_models.settings import changed
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.exporters.rows import dialogues
from tsplanner.exporters.rows.form import RowsAs
from tsplanner.exporters.rows.written import write_rows
from tsplanner.planner.plan import Plan
from tsplanner.training.data import load_rows


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file."""
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def with_rows(plan: Plan, path: Path, rows: list[dict[str, Any]]) -> Plan:
    """The plan on rows of its own."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return replace(plan, dataset=changed(plan.dataset, path=str(path), rows_kept=len(rows)))


def test_token_ids_are_those_that_our_worker_trains_on(tmp_path: Path) -> None:
    """Row by row, in both parts, with the labels of the answers."""
    plan = tiny.plan(tmp_path)
    assert plan.model.path is not None
    # AutoTokenizer would give a folder of Qwen2 another pre-tokenizer than the one that lies there.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(plan.model.path)
    worker = load_rows(plan, tokenizer, None)
    written = write_rows(plan, tmp_path / "export", RowsAs.TOKENS, shape=dialogues.trl)
    assert (written.rows, written.held_out) == (20, 2)
    for part, mine in zip(written.paths, (worker.train, worker.validation), strict=True):
        assert lines(part) == [
            {
                "input_ids": list(row.input_ids),
                "attention_mask": [1] * len(row.input_ids),
                "labels": list(row.labels),
            }
            for row in mine
        ]


def test_dialogues_are_split_as_the_token_ids_are(tmp_path: Path) -> None:
    """The answers that are held out are the same."""
    plan = tiny.plan(tmp_path)
    written = write_rows(plan, tmp_path / "export", RowsAs.MESSAGES, shape=dialogues.trl)
    assert [len(lines(path)) for path in written.paths] == [18, 2]
    answers = [row["messages"][-1]["content"] for path in written.paths for row in lines(path)]
    source = Path(str(plan.dataset.path))
    assert sorted(answers) == sorted(row["output"] for row in lines(source))


@pytest.mark.parametrize("rows_as", RowsAs)
def test_rows_that_our_worker_leaves_out_are_not_written(tmp_path: Path, rows_as: RowsAs) -> None:
    """Those of which nothing is learned; both forms hold out the same rows."""
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "trend"},
                      {"role": "assistant", "content": f"value {n}", "weight": n % 2}]}
        for n in range(20)
    ]  # fmt: skip
    plan = with_rows(tiny.plan(tmp_path), tmp_path / "half.jsonl", rows)
    worker = load_rows(plan, tiny_tokenizer(plan), None)
    written = write_rows(plan, tmp_path / "export", rows_as, shape=dialogues.trl)
    assert (written.rows, written.held_out) == (10, 1)
    if rows_as is RowsAs.MESSAGES:
        (held_out,) = lines(written.paths[1])
        answer = held_out["messages"][-1]["content"]
        ids = tiny_tokenizer(plan)(answer, add_special_tokens=False)["input_ids"]
        (row,) = worker.validation
        assert ids == [label for label in row.labels if label >= 0][: len(ids)]


def tiny_tokenizer(plan: Plan) -> Any:
    """The tokenizer of the plan's folder."""
    assert plan.model.path is not None
    return PreTrainedTokenizerFast.from_pretrained(plan.model.path)


def test_no_row_is_held_out_that_an_earlier_export_held_out(tmp_path: Path) -> None:
    """The file of the earlier export goes, and nothing else is left in the folder."""
    plan, folder = tiny.plan(tmp_path), tmp_path / "export"
    write_rows(plan, folder, RowsAs.TOKENS, shape=dialogues.trl)
    whole = tiny.with_learning(plan, validation_fraction=0.0)
    write_rows(whole, folder, RowsAs.TOKENS, shape=dialogues.trl)
    assert [path.name for path in (folder / "rows").iterdir()] == ["train.jsonl"]


def test_answers_that_are_dates_are_refused_as_dialogues(tmp_path: Path) -> None:
    """`datasets` would make times of the completions, where it keeps the texts of messages."""
    rows = [{"instruction": f"value {day}", "output": f"2024-01-{day:02}"} for day in range(1, 11)]
    plan = with_rows(tiny.plan(tmp_path), tmp_path / "dates.jsonl", rows)

    def apart(row: Any, loss_on: Any) -> dict[str, object]:
        return {"prompt": row.turns[0].content, "completion": row.turns[1].content}

    with pytest.raises(TsplannerError, match="field completion of the exported rows is a date"):
        write_rows(plan, tmp_path / "export", RowsAs.MESSAGES, shape=apart)
    assert list((tmp_path / "export" / "rows").iterdir()) == []
    write_rows(plan, tmp_path / "export", RowsAs.MESSAGES, shape=dialogues.trl)
