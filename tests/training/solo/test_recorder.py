"""Figures of a run, line by line and at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tsplanner.runs import read_json_lines
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.memory import MemoryMeter, Peaks
from tsplanner.training.record import parse_record, record_so_far
from tsplanner.training.solo.recorder import (
    EVAL_MARKS_FILE,
    EVAL_ROWS_FILE,
    METRICS_FILE,
    Recorder,
    write_record,
)


def recorder(folder: Path, kind: JobKind = JobKind.TRIAL) -> Recorder:
    """A recorder of the tiny plan, whose steps have four rows."""
    run = folder / "run"
    run.mkdir(exist_ok=True)
    job = Job(kind=kind, plan=tiny.plan(folder), folder=str(run))
    return Recorder(job, MemoryMeter(cuda=False))


def lines(folder: Path) -> list[dict[str, Any]]:
    """The metrics without their times."""
    rows = read_json_lines(folder / "run" / METRICS_FILE)
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_step_and_an_evaluation_are_a_line_each(tmp_path: Path) -> None:
    """The loss of held-out rows is a mean per token: (2 x 1 + 1 x 3) / 4 tokens."""
    found = recorder(tmp_path)
    found.begin(0)
    found.step(step=1, epoch=0.5, logs={"loss": 2.0, "learning_rate": 0.1, "grad_norm": "nan"})
    assert found.evaluation(step=1, epoch=0.5, rows=[(2.0, 1), (1.0, 3)]) == 1.25
    step = {"step": 1, "epoch": 0.5, "loss": 2.0, "learning_rate": 0.1, "grad_norm": None}
    assert lines(tmp_path) == [step, {"step": 1, "epoch": 0.5, "eval_loss": 1.25}]
    run = tmp_path / "run"
    rows = {"step": 1, "rows": [[2.0, 1], [1.0, 3]]}
    assert json.loads((run / EVAL_ROWS_FILE).read_text()) == rows
    assert read_json_lines(run / EVAL_MARKS_FILE) == [{**rows, "epoch": 0.5}]


def test_the_best_evaluation_keeps_its_rows_and_the_start_is_none(tmp_path: Path) -> None:
    """A worse or endless loss later changes nothing."""
    found = recorder(tmp_path)
    found.begin(0)
    for step, loss in ((0, 0.5), (1, 2.0), (2, 1.0), (3, 3.0), (4, float("inf"))):
        found.evaluation(step=step, epoch=float(step), rows=[(loss, 1)])
    best = found.best_evaluation
    assert best is not None
    assert (best.step, best.loss) == (2, 1.0)
    assert found.start_eval_loss == 0.5
    assert [each.step for each in found.evaluations] == [1, 2, 3]
    assert json.loads((tmp_path / "run" / EVAL_ROWS_FILE).read_text())["step"] == 2


def test_a_resumed_run_goes_on_after_the_steps_of_its_checkpoint(tmp_path: Path) -> None:
    """Lines after it were of work that is lost."""
    first = recorder(tmp_path)
    first.begin(0)
    for step in (1, 2, 3):
        first.step(step=step, epoch=step / 2, logs={"loss": float(step)})
    again = recorder(tmp_path)
    again.begin(2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]
    assert (again.steps, again.epochs, again.losses) == (2, 1.0, [1.0, 2.0])


class Told(MemoryMeter):
    """A meter that reports what it was told: bytes of the device, and retries of the allocator."""

    def __init__(self, used: int, retries: int) -> None:
        super().__init__(cuda=False)
        self.told = Peaks(
            allocated=used, reserved=used, process=used + 1, host=7, pinned=None, retries=retries
        )

    def peaks(self) -> Peaks:
        """The peaks of a card."""
        return self.told


def test_a_run_killed_after_its_last_step_has_the_time_and_peaks_of_the_whole(
    tmp_path: Path,
) -> None:
    """3 s of steps and a peak of 50 bytes before, none and 20 after: 3 s, 50 bytes, 1 + 2 retries.

    A line of a later step was of work that is lost, and so are its seconds.
    """
    first = recorder(tmp_path, JobKind.TRAIN)
    first.meter = Told(50, retries=1)
    first.begin(0)
    first._began -= 3.0
    first.step_seconds = [1.0, 1.0]
    for step in (1, 2):
        first.step(step=step, epoch=step / 2, logs={"loss": 2.0})
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    first.saved(2)
    first._began -= 100.0
    first.step(step=3, epoch=1.5, logs={"loss": 2.0})

    again = recorder(tmp_path, JobKind.TRAIN)
    again.meter = Told(20, retries=2)
    again.begin(2)
    record = again.finish(Status.OK)
    assert record.steps == 2
    assert record.timing.seconds == pytest.approx(3.0, abs=0.5)
    assert record.timing.step_seconds == (1.0, 1.0)
    memory = record.memory
    assert (memory.peak_allocated_bytes, memory.peak_reserved_bytes) == (50, 50)
    assert (memory.process_bytes, memory.host_bytes, memory.pinned_bytes) == (51, 7, None)
    assert memory.allocation_retries == 3


@pytest.mark.parametrize("left", [None, b"", b"[]", b'{"memory": 3}'])
def test_a_checkpoint_that_does_not_tell_its_peaks_is_gone_on_from(
    tmp_path: Path, left: bytes | None
) -> None:
    """An older version left nothing there; then the peak is that of the rest, 20 + 1 bytes."""
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    if left is not None:
        record_so_far(checkpoint, 0).write_bytes(left)
    again = recorder(tmp_path, JobKind.TRAIN)
    again.meter = Told(20, retries=0)
    again.begin(2)
    assert again.finish(Status.OK).memory.process_bytes == 21


@pytest.mark.parametrize(
    ("kind", "seconds", "rows", "expected"),
    [
        # the median step of 0.5 s has the plan's four rows
        (JobKind.TRIAL, [0.5, 9.0, 0.5], None, 8.0),
        # a probe's first two steps are warm-up
        (JobKind.PROBE, [7.0, 7.0, 0.25, 0.25, 0.25], None, 16.0),
        (JobKind.PROBE, [7.0, 7.0], None, None),
        # with a number of rows of its own, over all steps
        (JobKind.TRIAL, [1.0, 3.0], 6, 1.5),
    ],
)
def test_samples_per_second_are_those_of_a_typical_step(
    tmp_path: Path, kind: JobKind, seconds: list[float], rows: int | None, expected: float | None
) -> None:
    """Evaluations and warm-up do not count."""
    found = recorder(tmp_path, kind)
    found.begin(0)
    found.step_seconds, found.rows = seconds, rows
    record = found.finish(Status.OK)
    assert record.timing.samples_per_second == expected
    assert record.timing.warmup_steps == (2 if kind is JobKind.PROBE else 0)


def test_a_record_is_written_whole_and_reads_back(tmp_path: Path) -> None:
    """With losses, the message of the run, and resident bytes on the CPU."""
    found = recorder(tmp_path)
    found.begin(0)
    found.message = "stopped on request"
    for step, loss in ((1, 4.0), (2, 2.0)):
        found.step(step=step, epoch=1.0, logs={"loss": loss})
    record = found.finish(Status.STOPPED)
    path = tmp_path / "run" / "record.json"
    assert parse_record(path.read_bytes()) == record
    assert (record.losses.first_loss, record.losses.last_loss, record.losses.mean_loss) == (
        4.0,
        2.0,
        3.0,
    )
    assert record.message == "stopped on request"
    assert record.memory.host_bytes is not None
    assert record.memory.peak_allocated_bytes is None
    write_record(tmp_path / "run", replace(record, steps=9))
    assert parse_record(path.read_bytes()).steps == 9


def test_a_full_run_tells_its_peak_of_memory_at_times(tmp_path: Path) -> None:
    """With the first step, and not again within half a minute; a trial never does."""
    found = recorder(tmp_path, JobKind.TRAIN)
    found.begin(0)
    for step in (1, 2):
        found.step(step=step, epoch=step / 4, logs={"loss": 2.0})
    first, second = lines(tmp_path)
    assert 2**20 < first["process_bytes"] <= (found.finish(Status.OK).memory.process_bytes or 0)
    assert "process_bytes" not in second
