"""The rows that axolotl and TRL are given."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import (
    changed,
)
from tests.support.exports import written
from tests.support.golden import CASES, CHATTS_ROWS, Case, case
from tsplanner.errors import TsplannerError
from tsplanner.exporters.prepare import text_only

BOTH = pytest.mark.parametrize("name", ["axolotl", "trl"])


DATASETS = {
    "alpaca": {"instruction": "why", "input": "now", "output": "so"},
    "chatts": {"input": "why\nnow", "output": "so", "timeseries": []},
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "hi"},
            {"from": "gpt", "value": "ho"},
            {"from": "human", "value": "why\nnow"},
            {"from": "gpt", "value": "so"},
            {"from": "human", "value": "left out"},
        ],
        "system": "be brief",
    },
    "messages": {
        "messages": [
            {"role": "user", "content": "why\nnow"},
            {"role": "assistant", "content": "so"},
        ]
    },
}


@BOTH
@pytest.mark.parametrize("form", DATASETS)
def test_rows_become_dialogues_that_end_with_the_answer(
    name: str, form: str, tmp_path: Path
) -> None:
    """Ten rows, of which one is held out, as our worker draws it; the last answer is learned."""
    from tsplanner.training.data import split

    source = tmp_path / "source.jsonl"
    rows = [json.dumps({**DATASETS[form], "id": place}) for place in range(10)]
    source.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    base = case("qwen2.5-7b")
    plan = replace(base.plan, dataset=changed(base.plan.dataset, path=str(source), rows_kept=10))
    (tmp_path / "prepare.py").write_text(written(Case(plan, base.options), name)["prepare.py"])
    subprocess.run([sys.executable, str(tmp_path / "prepare.py")], check=True, cwd="/")
    parts = {
        part: [json.loads(line) for line in (tmp_path / "rows" / f"{part}.jsonl").open()]
        for part in ("train", "test")
    }
    assert (len(parts["train"]), len(parts["test"])) == tuple(map(len, split(rows, 0.1, 42)))
    row = parts["train"][0]
    turns = row["messages"] if name == "axolotl" else row["prompt"] + row["completion"]
    assert (turns[-1]["role"], turns[-1]["content"]) == ("assistant", "so")
    assert (turns[-2]["role"], turns[-2]["content"]) == ("user", "why\nnow")
    if form == "sharegpt":
        roles = ["system", "user", "assistant", "user", "assistant"]
        assert [turn["role"] for turn in turns] == roles
    if name == "axolotl":
        assert [turn["train"] for turn in turns] == [False] * (len(turns) - 1) + [True]


def test_what_is_held_out_is_what_our_worker_holds_out(tmp_path: Path) -> None:
    """Row by row, by the plan's seed."""
    from tsplanner.training.data import split

    source = tmp_path / "source.json"
    source.write_text(json.dumps([{"input": str(n), "output": "a"} for n in range(40)]))
    base = CASES["trl"]["lora"]
    plan = replace(base.plan, dataset=changed(base.plan.dataset, path=str(source), rows_kept=40))
    (tmp_path / "prepare.py").write_text(written(Case(plan, base.options), "trl")["prepare.py"])
    subprocess.run([sys.executable, str(tmp_path / "prepare.py")], check=True)
    found = [json.loads(line) for line in (tmp_path / "rows" / "test.jsonl").open()]
    _, expected = split([str(n) for n in range(40)], 0.1, 42)
    assert [row["prompt"][0]["content"] for row in found] == expected


def test_a_model_that_reads_series_is_no_model_of_text() -> None:
    """The architecture of a text model is handed on."""
    text = case("qwen2.5-7b").plan
    assert text_only(text, "TRL") == text.architecture
    with pytest.raises(TsplannerError, match="TRL knows no time series"):
        text_only(case("chatts-8b", rows=CHATTS_ROWS).plan, "TRL")
