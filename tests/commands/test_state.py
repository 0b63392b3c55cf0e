"""``tsplanner state``: what is kept between plans, listed and forgotten."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.commands.state import Clear, correction_values, run
from tsplanner.planner.gather.probe_points import installed_versions, store
from tsplanner.probe.calibration import probe_point
from tsplanner.settings import calibration_file, state_folder, state_parts
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

RECORD = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.PROBE,
    process_bytes=600 * 2**20,
    step_seconds=(9.0, 8.0, 1.0, 3.0, 2.0),
    warmup_steps=2,
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of the test's own."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))


def fill(tmp_path: Path) -> None:
    """A point of now, one of a hundred days ago, and one line of version 0.2."""
    point = probe_point(tiny.plan(tmp_path), RECORD)
    point = replace(point, versions=installed_versions())
    store(point)
    store(replace(point, unix_time=time.time() - 100 * 86_400))
    with calibration_file().open("a") as file:
        file.write('{"device_name": "cpu", "settings": {}}\n')
    for name in ("search times", "row lengths"):
        path = state_parts()[name]
        file_of = path if path.suffix else path / "0123.json"
        file_of.parent.mkdir(parents=True, exist_ok=True)
        file_of.write_text("{}")


def test_every_correction_is_listed_with_its_date_and_factors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """600 MiB were measured where 600 were expected; the old one says why it counts no more."""
    fill(tmp_path)
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"State   {state_folder()}"
    (new, old) = [line for line in lines if " tiny " in line]
    assert new.startswith(time.strftime("%Y-%m-%d"))
    assert "lora    fp32 · CPU · micro-batch 2" in new
    assert "reference kernels" in new
    assert "x 1.00" in new
    assert new.endswith("yes")
    assert old.endswith("no: older than 90 days")
    assert any(line.startswith("1 line of an older version") for line in lines)


def test_json_has_the_same_and_where_it_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Versions and dates are values that a program can compare."""
    fill(tmp_path)
    assert run(as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["folder"] == str(state_folder())
    assert [row["counts"] for row in document["corrections"]] == [True, False]
    first = document["corrections"][0]
    assert (first["model"], first["method"], first["device"]) == ("tiny", "lora", "cpu")
    assert first["versions"]["tsplanner"] == installed_versions()["tsplanner"]
    assert first["memory_factor"] == 1.0
    assert document["parts"]["row lengths"]["files"] == 1
    point = probe_point(tiny.plan(tmp_path), RECORD, now=0.0)
    assert correction_values(point, "because")["why_not"] == "because"


def test_corrections_are_forgotten_and_the_rest_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of somebody else in the folder stays in any case."""
    fill(tmp_path)
    (state_folder() / "mine.txt").write_text("keep")
    assert run(clear=Clear.CORRECTIONS) == 0
    assert capsys.readouterr().out == f"removed  {calibration_file()}\n"
    assert not calibration_file().exists()
    assert state_parts()["search times"].exists()
    assert run(clear=Clear.ALL, as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)["removed"]) == 2
    left = [path.name for path in state_folder().rglob("*") if path.is_file()]
    assert left == ["mine.txt"]
    assert run(clear=Clear.ALL) == 0
    assert capsys.readouterr().out == f"Nothing to forget in {state_folder()}.\n"


def test_an_empty_state_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was ever kept here."""
    assert run() == 0
    assert "No corrections: no probe of this version has ended here." in capsys.readouterr().out
    assert not state_folder().exists()
