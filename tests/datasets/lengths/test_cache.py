"""Lengths of an unchanged dataset are remembered, of a changed one counted anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tsplanner.datasets.lengths.cache import length_summary
from tsplanner.datasets.records import DataSource, LengthSummary, LossOn, ReadJob
from tsplanner.errors import TsplannerError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's own state out of the tests."""
    folder = tmp_path / "state"
    monkeypatch.setenv("TSPLANNER_STATE", str(folder))
    return folder


def summary(path: Path, cutoff_len: int = 64, **more: LossOn) -> LengthSummary:
    """Count, or remember, a text dataset."""
    source = DataSource(paths=(str(path),))
    job = ReadJob(source=source, cutoff_len=cutoff_len, encoder=None, tokenizer_folder=None, **more)
    return length_summary(job, on_bad="refuse")


def rows(path: Path, *answers: str) -> Path:
    """Write alpaca rows."""
    lines = [json.dumps({"instruction": "Why?", "input": "", "output": a}) for a in answers]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_second_plan_reads_no_row(tmp_path: Path, state: Path) -> None:
    """What is remembered is taken as it is: here a figure that no count would give."""
    path = rows(tmp_path / "a.jsonl", "Because.", "Why not?")
    counted = summary(path)
    (file,) = (state / "lengths").iterdir()
    noted = json.loads(file.read_text())
    noted["summary"]["rows_kept"] = 12345
    file.write_text(json.dumps(noted))

    assert counted.rows_kept == 2
    assert len(counted.quantiles) == 33
    assert summary(path).quantiles == counted.quantiles
    assert summary(path).rows_kept == 12345


def test_a_changed_file_or_cutoff_is_counted_anew(tmp_path: Path) -> None:
    """Another size, another time or another cutoff is another question."""
    path = rows(tmp_path / "a.jsonl", "Because.")
    assert summary(path).rows_kept == 1
    rows(path, "Because.", "Why not?")
    assert summary(path).rows_kept == 2
    os.utime(path, ns=(1, 1))
    assert summary(path).rows_kept == 2
    assert summary(path, cutoff_len=48).longest <= 48


def test_other_turns_with_loss_are_another_question(tmp_path: Path) -> None:
    """Of a question and its answer all is learned, or the answer alone."""
    path = rows(tmp_path / "a.jsonl", "Because.")
    answer, whole = summary(path).content.learned, summary(path, loss_on=LossOn.ALL).content.learned
    assert answer is not None
    assert whole is not None
    assert answer < whole


def test_a_damaged_memory_is_no_error(tmp_path: Path, state: Path) -> None:
    """It is counted and written again."""
    path = rows(tmp_path / "a.jsonl", "Because.")
    summary(path)
    (file,) = (state / "lengths").iterdir()
    file.write_text("{")
    assert summary(path).rows_kept == 1
    assert json.loads(file.read_text())["summary"]["rows_kept"] == 1


def test_a_refused_dataset_is_refused_again(tmp_path: Path, state: Path) -> None:
    """Errors are not remembered."""
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    for _ in range(2):
        with pytest.raises(TsplannerError, match="empty"):
            summary(path)
    assert not (state / "lengths").exists()
