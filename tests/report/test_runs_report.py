"""The table over saves/."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import tiny

from tsplanner.commands import report
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import write_plan
from tsplanner.report.runs_table import HEADINGS, run_folders, run_name
from tsplanner.report.text import duration, gib, off
from tsplanner.training.job import Evaluation, JobKind, Record, Status

RECORD = Record(
    status=Status.OK,
    kind=JobKind.TRAIN,
    steps=10,
    epochs=2.0,
    seconds=90.0,
    last_loss=0.18,
    mean_loss=0.473,
    process_bytes=3 * 2**30,
    samples_per_second=1.609,
    evaluations=(Evaluation(epoch=1, step=5, loss=0.41), Evaluation(epoch=2, step=10, loss=0.44)),
)


def add_run(saves: Path, name: str, record: Record = RECORD) -> Path:
    """A finished run."""
    folder = saves / "tiny" / "lora" / name
    folder.mkdir(parents=True)
    write_plan(tiny.plan(saves / ".."), folder / "plan.json")
    (folder / "record.json").write_bytes(msgspec.json.encode(record))
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n')
    return folder


def test_three_losses_are_three_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Last step, run mean and held out are never mixed up."""
    saves = tmp_path / "saves"
    add_run(saves, "20261122-1")
    assert report.run(saves=saves, plots=False) == 0
    printed = capsys.readouterr().out
    assert all(heading in printed for heading in HEADINGS)
    row = next(line for line in printed.splitlines() if "20261122-1" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[10:13] == ["0.1800", "0.4730", "0.4100"]
    assert cells[8:10] == ["90.0", "1.5"]
    assert cells[-1] == "3.00"
    assert (saves / "report.md").read_text().endswith(row + "\n")


def test_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives the same rows, losses by name."""
    saves = tmp_path / "saves"
    add_run(saves, "20261122-1")
    report.run(saves=saves, plots=False, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["runs"][0]["eval_loss"] == 0.41
    assert document["runs"][0]["mean_loss"] == 0.473


def test_trials_and_broken_runs_are_not_runs(tmp_path: Path) -> None:
    """A search's trials have no row; a record cut off is passed over."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "20261122-1")
    trial = folder / "trials" / "0"
    trial.mkdir(parents=True)
    (trial / "record.json").write_text("{}")
    (trial / "plan.json").write_text("{}")
    assert run_folders(saves) == [folder]
    broken = add_run(saves, "20261122-2")
    (broken / "record.json").write_text('{"status"')
    assert report.run(saves=saves, plots=False) == 0
    assert "20261122-2" not in (saves / "report.md").read_text()


@pytest.mark.slow
def test_loss_curve_is_drawn_into_the_run_folder(tmp_path: Path) -> None:
    """A PNG stands next to the metrics it shows."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "20261122-1")
    report.run(saves=saves)
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_missing_saves_folder_is_one_sentence(tmp_path: Path) -> None:
    """The message says how to mend it."""
    with pytest.raises(TsplannerError, match="train a plan first"):
        report.run(saves=tmp_path / "absent")


def test_figures_read_well() -> None:
    """GiB with one or two digits, spans in the unit that fits, errors of the measurement."""
    assert gib(12 * 2**30) == "12.0 GiB"
    assert gib(2**29, unit=False) == "0.50"
    assert gib(None) == "-"
    assert duration(45) == "45 s"
    assert duration(36 * 60) == "36 min"
    assert off(12.0, 12.5) == "-4.0 %"


def test_run_outside_the_saves_folder_is_named_by_its_path(tmp_path: Path) -> None:
    """A run folder of the user's own, given by its whole path, gets its report, too."""
    inside = tmp_path / "saves" / "tiny" / "lora" / "1"
    assert run_name(inside, tmp_path / "saves") == "tiny/lora/1"
    assert run_name(tmp_path / "mine", tmp_path / "saves") == str(tmp_path / "mine")
