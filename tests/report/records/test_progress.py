"""Where a run folder stands, by the files that its own writers leave there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.support import tiny
from tests.support.hand_made import RECORD, add_run
from tsplanner.folders.owner import OWNER_FILE, RunFolder
from tsplanner.planner.files import write_plan
from tsplanner.probe.runner import prepare
from tsplanner.report.records.progress import (
    Progress,
    State,
    is_run,
    open_runs,
    read_progress,
    run_so_far,
)
from tsplanner.runs import append_line
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.pulse import Phase, Pulse
from tsplanner.tune.run_folder import SEARCH_PLAN


def begin(folder: Path, run: Path, kind: JobKind = JobKind.TRAIN) -> None:
    """The folder of a run whose worker is about to start."""
    plan = tiny.plan(folder)
    run.mkdir(parents=True, exist_ok=True)
    if kind is JobKind.TRAIN:
        write_plan(plan, run / "plan.json")
    prepare(Job(kind=kind, plan=plan, folder=str(run)))


def say(run: Path, **row: object) -> None:
    """A line of metrics.jsonl."""
    append_line(run / "metrics.jsonl", json.dumps(row))


def look(run: Path) -> Progress:
    """The folder as it is now."""
    return read_progress(run, run.parent)


def test_a_folder_that_is_empty_or_not_there_has_not_begun(tmp_path: Path) -> None:
    """And nothing is made by looking."""
    found = look(tmp_path / "new")
    assert (found.state, found.pace, found.silent_seconds) == (State.NOT_BEGUN, None, None)
    assert not (tmp_path / "new").exists()
    assert not is_run(tmp_path)


def test_a_run_at_work_tells_its_pace_and_its_last_sign_of_life(tmp_path: Path) -> None:
    """Two steps of two seconds each, of the ten that are planned: 16 seconds are left."""
    run = tmp_path / "run"
    with RunFolder(run, "train", saves=tmp_path):
        begin(tmp_path, run)
        Pulse(run).enter(Phase.STEP)
        for step in (1, 2):
            say(run, step=step, epoch=step / 5, loss=2.5 - step / 2, seconds=2.0 * step)
        os.utime(run / "metrics.jsonl", (0, 0))
        found = look(run)
        assert found.state is State.AT_WORK
        assert found.owner is not None
        assert found.owner.process.pid == os.getpid()
        assert found.phase is Phase.STEP
        assert found.pace is not None
        assert (found.pace.step, found.pace.total, found.pace.loss) == (2, 10, 1.5)
        assert (found.pace.step_seconds, found.pace.seconds_left) == (2.0, 16.0)
        assert found.silent_seconds is not None
        assert found.silent_seconds < 60
    assert look(run).state is State.CUT_OFF


@pytest.mark.parametrize(
    "torn", ['{"step": 3, "lo', "\x00\x00\x00", '{"step": "x", "epoch": []}', "[" * 100_000]
)
def test_a_line_that_is_torn_or_foreign_breaks_nothing(tmp_path: Path, torn: str) -> None:
    """The lines before it count."""
    run = tmp_path / "run"
    begin(tmp_path, run)
    say(run, step=2, epoch=0.4, loss=1.5, seconds=4.0)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(torn)
    found = look(run)
    assert found.state is State.UNKNOWN
    assert found.pace is not None
    assert found.pace.loss == 1.5
    assert run_so_far(found) is not None


def test_a_run_without_a_record_is_a_run_of_the_report_so_far(tmp_path: Path) -> None:
    """Its mean loss is (2 + 1) / 2, its best evaluation that of step 5, the start apart."""
    run = tmp_path / "run"
    begin(tmp_path, run)
    say(run, step=0, epoch=0.0, eval_loss=0.1, seconds=0.5)
    say(run, step=1, epoch=0.2, loss=2.0, seconds=1.0, process_bytes=123)
    say(run, step=5, epoch=1.0, loss=1.0, seconds=3.0)
    say(run, step=5, epoch=1.0, eval_loss=0.75, seconds=4.0)
    found = run_so_far(look(run))
    assert found is not None
    assert (found.losses.mean, found.losses.last, found.losses.held_out) == (1.5, 1.0, 0.75)
    assert (found.losses.best_epoch, found.outcome.steps, found.outcome.seconds) == (1.0, 5, 4.0)
    assert found.memory.process_bytes == 123
    assert found.curves.evaluations == ((0.0, 0.1), (5.0, 0.75))


def test_a_search_shows_its_trials_before_its_full_run_begins(tmp_path: Path) -> None:
    """Those without a record, with the newest step and held-out loss of each."""
    run = tmp_path / "run"
    run.mkdir()
    write_plan(tiny.plan(tmp_path), run / SEARCH_PLAN)
    for number in (0, 1):
        trial = run / "trials" / str(number)
        begin(tmp_path, trial, JobKind.TRIAL)
        say(trial, step=5, epoch=1.0, loss=2.0, seconds=1.0)
        say(trial, step=5, epoch=1.0, eval_loss=1.0 + number, seconds=1.5)
    (run / "trials" / "0" / "record.json").write_bytes(
        msgspec.json.encode(replace(RECORD, kind=JobKind.TRIAL))
    )
    found = look(run)
    assert is_run(run)
    assert found.pace is None
    assert found.plan is not None
    assert [(one.number, one.step, one.best) for one in found.trials] == [(1, 5.0, 2.0)]
    so_far = run_so_far(found)
    assert so_far is not None
    assert len(so_far.trials) == 2


def test_the_record_says_how_a_run_ended(tmp_path: Path) -> None:
    """Whatever its owner says."""
    over = add_run(tmp_path, "over")
    failed = add_run(tmp_path, "failed", replace(RECORD, status=Status.HUNG, message="no sign"))
    assert [look(each).state for each in (over, failed)] == [State.OVER, State.FAILED]
    (over / OWNER_FILE).write_text("no owner")
    assert look(over).state is State.OVER


def test_runs_that_are_open_come_with_those_at_work_first(tmp_path: Path) -> None:
    """A run with a record is none of them, and neither is a trial."""
    add_run(tmp_path, "over")
    begin(tmp_path, tmp_path / "tiny" / "lora" / "a-left")
    begin(tmp_path, tmp_path / "tiny" / "lora" / "a-left" / "trials" / "0", JobKind.TRIAL)
    with RunFolder(tmp_path / "tiny" / "lora" / "b-work", "tune", saves=tmp_path):
        found = open_runs(tmp_path)
    assert [(each.name, each.state) for each in found] == [
        ("tiny/lora/b-work", State.AT_WORK),
        ("tiny/lora/a-left", State.UNKNOWN),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_run_whose_process_was_killed_is_cut_off(tmp_path: Path) -> None:
    """Its owner never said that it left."""
    run = tmp_path / "run"
    code = f"""
import os, pathlib, signal
from tsplanner.folders.owner import RunFolder
RunFolder(pathlib.Path({str(run)!r}), "train")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert look(run).owner is not None
    assert look(run).state is State.CUT_OFF
