"""The point that a finished probe adds to what was measured on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory_models.result import Interval
from memory_models.settings import changed, from_flat
from tests.support import tiny
from tests.support.toy_request import GIB
from tsplanner.probe.calibration import probe_point, probed_step_time, step_seconds
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

RECORD = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.PROBE,
    process_bytes=500,
    step_seconds=(9.0, 8.0, 1.0, 3.0, 2.0),
    warmup_steps=2,
)


def test_step_time_leaves_the_warm_up_out() -> None:
    """The median of 1, 3 and 2 seconds is 2; the first two steps do not count."""
    assert step_seconds(RECORD) == 2.0
    assert step_seconds(changed(RECORD, step_seconds=())) is None


def test_prediction_of_a_point_is_that_of_the_step_that_was_probed(tmp_path: Path) -> None:
    """A probe runs the longest batch, whatever the mean is, and the plain model is judged."""
    plan = tiny.plan(tmp_path)
    longer = replace(plan, dataset=changed(plan.dataset, longest=128))
    assert probed_step_time(longer).seconds > probed_step_time(plan).seconds
    corrected = changed(plan, work_factor=3.0)
    assert probe_point(corrected, RECORD).predicted.step_seconds == probed_step_time(plan).seconds


def test_what_is_held_below_the_forecast_teaches_nothing(tmp_path: Path) -> None:
    """Then another process had the memory."""
    from tsplanner.probe.calibration import note_shortage
    from tsplanner.training.job import JobKind
    from tsplanner.training.record import Record

    plan = tiny.plan(tmp_path)
    memory = replace(plan.memory, process_bytes=Interval(expected=2 * GIB, upper=3 * GIB))
    record = from_flat(Record, status=Status.DEVICE_OOM, kind=JobKind.TRIAL, process_bytes=GIB)
    path = tmp_path / "points.jsonl"
    assert note_shortage(replace(plan, memory=memory), record, path) is None
    assert not path.exists()
