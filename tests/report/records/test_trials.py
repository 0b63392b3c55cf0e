"""Trials as their folders have them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from tsplanner.report.records.trials import read_trials
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record


def trial(folder: Path, number: int, rank: int = 8, *, ended: bool = True) -> Path:
    """The folder of a trial."""
    place = folder / "trials" / str(number)
    place.mkdir(parents=True)
    learning = {
        "method": {"lora_rank": rank},
        "optimization": {"learning_rate": 1e-4, "num_train_epochs": 2},
        "seed": 7,
    }
    (place / "job.json").write_text(json.dumps({"plan": {"learning": learning}}))
    lines = [{"step": 0, "eval_loss": 9.0}, {"step": 1, "loss": 3.0}, {"step": 5, "eval_loss": 2.0}]
    (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if ended:
        record = Record(status=Status.OK, kind=JobKind.TRAIN)
        (place / "record.json").write_bytes(msgspec.json.encode(record))
    return place


def test_trials_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """The loss of the untrained model is none of theirs."""
    for number in (10, 9):
        trial(tmp_path, number, rank=number)
    trial(tmp_path, 11, ended=False)
    found = read_trials(tmp_path)
    assert [each.number for each in found] == [9, 10, 11]
    assert [each.rank for each in found] == [9, 10, 8]
    assert [each.status for each in found] == ["ok", "ok", None]
    assert found[0].evaluations == ((5.0, 2.0),)
    assert found[0].best == 2.0
    assert (found[0].learning_rate, found[0].epochs, found[0].seed) == (1e-4, 2.0, 7)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """A folder that is being made, a broken file, another folder."""
    assert read_trials(tmp_path) == ()
    (trial(tmp_path, 0) / "job.json").write_text("{")
    (tmp_path / "trials" / "1").mkdir()
    (tmp_path / "trials" / "other").mkdir()
    assert read_trials(tmp_path) == ()
