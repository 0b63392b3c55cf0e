"""What ``tsplanner report`` prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memory_models.units import format_bytes, format_gib
from tests.support.hand_made import add_run
from tsplanner.commands import report
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.report.records.read_runs import run_name
from tsplanner.report.runs_table import HEADINGS
from tsplanner.report.text import duration, number, off, parameters, rate


def test_three_losses_are_three_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Last step, run mean and held out are never mixed up."""
    saves = tmp_path / "saves"
    add_run(saves, "20261122-1")
    assert report.run(saves=saves) == 0
    printed = capsys.readouterr().out
    assert all(heading in printed for heading in HEADINGS)
    row = next(line for line in printed.splitlines() if "20261122-1" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[10:13] == ["0.1800", "0.4730", "0.4100"]
    assert cells[8:10] == ["90.0", "1.5"]
    assert cells[-1] == "17.0"
    for name in ("report.html", "report.zh-CN.html", "report.md", "report.zh-CN.md"):
        assert (saves / name).is_file()
        assert str(saves / name) in printed


def test_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives the same rows, losses by name, and what was left out."""
    saves = tmp_path / "saves"
    add_run(saves, "20261122-1")
    (add_run(saves, "20261122-2") / "record.json").write_text('{"status"')
    report.run(saves=saves, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["runs"][0]["eval_loss"] == 0.41
    assert document["runs"][0]["mean_loss"] == 0.473
    assert document["left_out"][0]["run"] == "tiny/lora/20261122-2"
    assert document["left_out"][0]["key"] == "record"
    assert Path(document["files"][0]).name == "report.html"
    assert document["comparisons"] == []


def test_broken_runs_are_named_on_the_error_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table stays a table; the reason stands beside the run's name."""
    saves = tmp_path / "saves"
    add_run(saves, "20261122-1")
    (add_run(saves, "20261122-2") / "record.json").write_text('{"status"')
    assert report.run(saves=saves) == 0
    told = capsys.readouterr()
    assert "20261122-2" not in told.out
    assert told.err.startswith("left out  tiny/lora/20261122-2: its record.json cannot be read")
    assert "20261122-2: its record.json" in (saves / "report.md").read_text()


def test_recorded_runs_stand_beside_own_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--experiments needs no run of one's own; a folder without any is an error."""
    saves = tmp_path / "saves"
    report.run(saves=saves, experiments=report.SHIPPED, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert len(document["runs"]) == 6
    refused = [row for row in document["comparisons"] if row["subject"] == "loss"]
    assert refused
    assert not any(row["compared"] for row in refused)
    with pytest.raises(TsplannerError, match="holds no experiment files"):
        report.run(saves=saves, experiments=str(tmp_path / "none"))
    (tmp_path / "one.yaml").write_text("model: chatts-8b\n")
    with pytest.raises(UsageError, match=r"one\.yaml"):
        report.run(saves=saves, experiments=str(tmp_path))


def test_missing_saves_folder_is_one_sentence(tmp_path: Path) -> None:
    """The message says how to fix it."""
    with pytest.raises(TsplannerError, match="train a plan first"):
        report.run(saves=tmp_path / "absent")


def test_figures_read_well() -> None:
    """GiB with one or two digits, spans in the unit that fits, errors of the measurement."""
    assert format_gib(12 * 2**30, unit=True) == "12.0 GiB"
    assert format_gib(2**29) == "0.50"
    assert format_gib(None) == "-"
    assert format_bytes(2**29) == "0.50 GiB"
    assert format_bytes(9 * 2**20) == "9 MiB"
    assert duration(45) == "45 s"
    assert duration(36 * 60) == "36 min"
    assert off(12.0, 12.5) == "-4.0 %"
    assert [number(value) for value in (0.0002, 3.0, 1589.0, None)] == ["0.0002", "3", "1,589", "-"]
    assert [rate(value) for value in (1.718, 31.861, None)] == ["1.718", "31.86", "-"]
    assert [parameters(count) for count in (14_876_137_488, 2_307_472, 900, None)] == [
        "14.9B",
        "2.31M",
        "900",
        "-",
    ]


def test_run_outside_the_saves_folder_is_named_by_its_path(tmp_path: Path) -> None:
    """A run folder of the user's own, given by its whole path, gets its report, too."""
    inside = tmp_path / "saves" / "tiny" / "lora" / "1"
    assert run_name(inside, tmp_path / "saves") == "tiny/lora/1"
    assert run_name(tmp_path / "mine", tmp_path / "saves") == str(tmp_path / "mine")
