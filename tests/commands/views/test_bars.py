"""Progress of steps: bars for a person, a line in a pipe, nothing for JSON."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.terminal import Terminal
from tsplanner.commands.views.bars import followed, step_bar, step_bars, title
from tsplanner.probe.runner import Tail
from tsplanner.report.records.pace import Pace
from tsplanner.training.job import Job, JobKind


def job(folder: Path, number: int, **hardware: object) -> Job:
    """A probe of the tiny plan in a folder with its number."""
    plan = tiny.with_hardware(tiny.plan(folder), **hardware)
    own = folder / str(number)
    own.mkdir()
    return Job(kind=JobKind.PROBE, plan=plan, folder=str(own), probe_steps=6)


def test_a_pipe_gets_one_line_and_json_gets_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is told of single steps."""
    with step_bar("train  20 rows", 10, shown=True) as on_metrics:
        assert on_metrics is None
    assert capsys.readouterr().out == "train  20 rows  10 steps\n"
    with step_bar("train  20 rows", 10, shown=False) as on_metrics:
        assert on_metrics is None
    assert capsys.readouterr().out == ""


def test_a_pipe_is_told_how_a_full_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Every so many steps, and at each evaluation."""
    with step_bar("train", 40, shown=True, pace=Pace(40, 100.0)) as on_metrics:
        assert on_metrics is not None
        for step in (1, 2, 3):
            on_metrics({"step": step, "loss": 1.0, "seconds": 2.0 * step})
        on_metrics({"step": 3, "eval_loss": 0.5, "seconds": 9.0})
    assert capsys.readouterr().out.splitlines() == [
        "train  40 steps",
        "step 2/40  loss 1.000 · 2 s/step · 50 tokens/s · about 76 s left",
        "step 3/40  loss 1.000 · 2 s/step · 50 tokens/s · about 74 s left · eval 0.500",
    ]


def test_a_person_sees_the_step_and_the_newest_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bar is fed with the lines of metrics.jsonl."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with step_bar("train", 10, shown=True) as on_metrics:
        assert on_metrics is not None
        on_metrics({"step": 4, "loss": 1.0})
        on_metrics({"step": 5, "eval_loss": 0.4321})
    assert "5/10 steps" in terminal.plain
    assert "eval 0.432" in terminal.plain


def test_several_probes_are_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line has the number of the probe and what is set for it."""
    jobs = [
        job(tmp_path, 1),
        job(tmp_path, 2, micro_batch_size=1, gradient_accumulation_steps=4),
    ]
    with step_bars(jobs, shown=True):
        pass
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"probe 1  {title(jobs[0])}  6 steps"
    assert first.startswith("probe 1  lora · ")
    assert "micro-batch 1" in second
    with step_bars(jobs, shown=False):
        pass
    assert capsys.readouterr().out == ""


def test_bars_of_several_probes_follow_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line that a worker wrote is shown, however soon the worker ended after it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    one = job(tmp_path, 1)
    with step_bars([one], shown=True):
        (Path(one.folder) / "metrics.jsonl").write_text('{"step": 6}\n')
    assert "6/6 steps" in terminal.plain


def test_files_are_read_while_the_work_goes_on_and_once_at_its_end(tmp_path: Path) -> None:
    """A line written in between is seen before the end; no thread is left."""
    seen: list[int] = []
    read = threading.Event()

    def on_row(row: dict[str, object]) -> None:
        seen.append(int(str(row["step"])))
        read.set()

    path = tmp_path / "metrics.jsonl"
    with followed([Tail(path, on_row, skip_existing=False)]):
        path.write_text(json.dumps({"step": 1}) + "\n")
        assert read.wait(timeout=10)
        with path.open("a") as file:
            file.write('{"step": 2}\n')
    assert seen == [1, 2]
    assert "probe-bars" not in [thread.name for thread in threading.enumerate()]
