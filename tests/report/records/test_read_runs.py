"""Run folders as summaries; what cannot be read is named and left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory_models.settings import changed, from_flat
from tests.support import tiny
from tests.support.hand_made import RECORD, add_run, gpu_plan
from tests.support.pages import blocks_of, page_of
from tsplanner.planner.settings import HardwareSettings
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Bullets, Charts
from tsplanner.report.records.read_runs import (
    device_name,
    points,
    read_run,
    read_runs,
    run_name,
    search_remarks,
    sharding_label,
)
from tsplanner.training.job import JobKind

EN = Language.EN


def test_run_outside_the_saves_folder_is_named_by_its_path(tmp_path: Path) -> None:
    """A run folder of the user's own, given by its whole path, gets its report, too."""
    inside = tmp_path / "saves" / "tiny" / "lora" / "1"
    assert run_name(inside, tmp_path / "saves") == "tiny/lora/1"
    assert run_name(tmp_path / "mine", tmp_path / "saves") == str(tmp_path / "mine")


def test_an_export_that_nobody_started_is_no_run(tmp_path: Path) -> None:
    """It has a job and a script; once its worker writes, it is a run that goes on."""
    folder = tmp_path / "saves" / "tiny" / "export" / "torchrun"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    (folder / "run.sh").write_text("")
    assert read_runs(tmp_path / "saves").left_out == ()
    (folder / "metrics.jsonl").write_text("")
    (left_out,) = read_runs(tmp_path / "saves").left_out
    assert (left_out.run, left_out.key) == ("tiny/export/torchrun", "left_out_unfinished")


def test_broken_runs_are_named_and_left_out(tmp_path: Path) -> None:
    """A record cut off, a plan of nobody, a run that was killed; trials are none."""
    saves = tmp_path / "saves"
    good = add_run(saves, "1")
    (add_run(saves, "2") / "record.json").write_text('{"status"')
    (add_run(saves, "3") / "plan.json").write_text("{}")
    killed = add_run(saves, "4")
    (killed / "record.json").rename(killed / "job.json")
    (add_run(saves, "5") / "record.json").write_text('{"status": "ok", "kind": "train"')
    trial = good / "trials" / "0"
    trial.mkdir(parents=True)
    (trial / "record.json").write_text("{}")
    found = read_runs(saves)
    assert [run.name for run in found.runs] == ["tiny/lora/1"]
    assert [(one.run, one.key) for one in found.left_out] == [
        ("tiny/lora/2", "left_out_record"),
        ("tiny/lora/3", "left_out_plan"),
        ("tiny/lora/4", "left_out_unfinished"),
        ("tiny/lora/5", "left_out_record"),
    ]
    page = page_of(*found.runs, left_out=found.left_out)
    listed = [block for block in blocks_of(page, "about") if isinstance(block, Bullets)]
    assert translate(listed[0].items[2], EN) == (
        "tiny/lora/4: no record yet (still running, or killed)"
    )


def test_half_written_metrics_and_endless_losses_do_not_hinder(tmp_path: Path) -> None:
    """A last line cut off, a loss that is no number: what is left is drawn."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1", changed(RECORD, evaluations=(), last_loss=None))
    (folder / "metrics.jsonl").write_text(
        '{"step": 1, "loss": NaN}\n{"step": 2, "loss": 3.0}\n{"st'
    )
    (run,) = read_runs(saves).runs
    assert run.curves.training == ((2.0, 3.0),)
    charts = [block for block in blocks_of(page_of(run), "curves") if isinstance(block, Charts)]
    assert len(charts[0].items) == 1


def test_a_search_before_the_run_is_remarked_on(tmp_path: Path) -> None:
    """Its decision is read from tune.json; a folder without one has no remark."""
    assert search_remarks(tmp_path) == ()
    (tmp_path / "tune.json").write_text('{"decision": {"sentence": "Trial 2 is better."}}')
    assert search_remarks(tmp_path) == ("Trial 2 is better.",)
    (tmp_path / "tune.json").write_text('{"decision": null}')
    assert search_remarks(tmp_path) == ()


def test_probes_and_trials_are_no_runs(tmp_path: Path) -> None:
    """Only a full run has a row, and a probe is not counted as left out."""
    folder = add_run(tmp_path, "1", replace(RECORD, kind=JobKind.PROBE))
    assert read_run(folder, tmp_path) is None
    assert read_runs(tmp_path).left_out == ()


def test_a_device_is_named_by_the_record_then_by_the_plan(tmp_path: Path) -> None:
    """What trained is known better than what was planned; a CPU is named by its cores."""
    plan = gpu_plan(tmp_path)
    assert device_name(plan, RECORD) == "Card X"
    assert device_name(plan, replace(RECORD, device_name="Card Y")) == "Card Y"
    assert device_name(plan, replace(RECORD, device_name="")) == "Card X"
    assert device_name(tiny.plan(tmp_path), RECORD) == "CPU, 2 cores"


def test_sharding_is_named_with_what_it_offloads() -> None:
    """Both cost speed, so runs that differ in them are set apart by the label."""
    assert sharding_label(HardwareSettings()) == "none"
    three = from_flat(HardwareSettings, zero_stage=3, offload_param=True, offload_optimizer=True)
    assert sharding_label(three) == "ZeRO-3 + param + optimizer offload"
    assert sharding_label(from_flat(HardwareSettings, zero_stage=2)) == "ZeRO-2"


def test_points_are_finite_numbers_with_a_step() -> None:
    """A line without a step, a NaN and a text are no points."""
    lines: list[dict[str, object]] = [
        {"step": 1, "loss": 2},
        {"loss": 1.0},
        {"step": 2, "loss": float("nan")},
        {"step": 3, "loss": float("inf")},
        {"step": 4, "loss": "low"},
        {"step": 5, "eval_loss": 0.5},
    ]
    assert points(lines, "loss") == ((1.0, 2.0),)
    assert points(lines, "eval_loss") == ((5.0, 0.5),)


def test_points_that_no_chart_can_hold_are_left_out() -> None:
    """An endless step, and losses whose difference is above every number."""
    lines: list[dict[str, object]] = [
        {"step": 1, "loss": 2.0},
        {"step": float("inf"), "loss": 1.0},
        {"step": 2, "loss": 1.7e308},
        {"step": 3, "loss": -1.7e308},
    ]
    assert points(lines, "loss") == ((1.0, 2.0),)


def test_one_damaged_file_ends_no_report(tmp_path: Path) -> None:
    """A byte that is no UTF-8 costs its line; a nest costs its run; the whole run stays."""
    saves = tmp_path / "saves"
    lines, nested, _ = (add_run(saves, name) for name in ("1", "2", "3"))
    content = (lines / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    content[1] = content[1].replace(b"loss", b"lo\xff")
    (lines / "metrics.jsonl").write_bytes(b"".join(content))
    (nested / "record.json").write_text("[" * 50_000)
    (lines / "tune.json").write_text("[" * 50_000)
    found = read_runs(saves)
    assert [run.name for run in found.runs] == ["tiny/lora/1", "tiny/lora/3"]
    assert [each.run for each in found.left_out] == ["tiny/lora/2"]
    assert found.runs[0].remarks == ("1 lines of metrics.jsonl cannot be read and are left out.",)
    assert len(found.runs[0].curves.training) == len(found.runs[1].curves.training) - 1


def test_a_run_behind_a_link_is_read_once(tmp_path: Path) -> None:
    """On another disk, and linked twice, once in a circle: one run, by its place under saves."""
    saves, disk = tmp_path / "saves", tmp_path / "disk"
    add_run(disk, "1")
    saves.mkdir()
    (saves / "big").symlink_to(disk)
    (disk / "again").symlink_to(saves)
    (saves / "twice").symlink_to(disk / "tiny")
    assert [run.name for run in read_runs(saves).runs] == ["big/tiny/lora/1"]
