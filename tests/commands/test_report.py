"""What ``tsplanner report`` prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.hand_made import add_run
from tsplanner.cli import build_parser
from tsplanner.commands import report
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.report.runs_table import HEADINGS


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


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), {"report.html", "report.zh-CN.html", "report.md", "report.zh-CN.md"}),
        (("--format", "html"), {"report.html", "report.zh-CN.html"}),
        (("--format", "md", "--language", "zh"), {"report.zh-CN.md"}),
        (("--language", "en"), {"report.html", "report.md"}),
    ],
)
def test_flags_choose_formats_and_languages(
    tmp_path: Path, words: tuple[str, ...], names: set[str]
) -> None:
    """--output takes the files elsewhere, and the runs keep their folders as they were."""
    folder = add_run(tmp_path / "saves", "1")
    line = ["report", "--saves", str(tmp_path / "saves"), "--output", str(tmp_path / "out")]
    given = build_parser("report").parse_args([*line, "--no-plots", *words])
    assert report.from_arguments(given) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert not (folder / "loss.svg").exists()
    assert not (tmp_path / "saves" / "report.html").exists()


def test_a_saves_folder_without_a_run_is_a_page_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to show is no failure."""
    assert report.run(saves=tmp_path) == 0
    assert capsys.readouterr().out.startswith("No finished run yet.\nWritten to ")
