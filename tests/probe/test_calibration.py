"""The point that a finished probe adds to what was measured on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.device import HostCopies
from memory_models.result import Interval
from memory_models.settings import changed, from_flat
from tests.support import tiny
from tests.support.rig import TURING
from tests.support.toy_request import GIB, HOPPER, machine
from tsplanner.planner.gather.probe_points import (
    device_name,
    installed_versions,
    load_calibration,
    why_aged,
)
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import (
    note_shortage,
    probe_point,
    probed_step_time,
    step_seconds,
)
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


def test_points_are_filed_under_the_cards_used_or_the_cpu(tmp_path: Path) -> None:
    """A CPU plan on a machine with cards says nothing of the cards, nor one card of another."""
    plan = tiny.plan(tmp_path)
    alone, cpu = HardwareSettings(), HardwareSettings(accelerator="cpu")
    assert device_name(plan.machine, cpu) == device_name(plan.machine, alone) == "cpu"
    cards = machine(HOPPER, TURING)
    assert device_name(cards, alone) == "H200"
    assert device_name(cards, HardwareSettings(devices=(1,))) == "RTX 2080 Ti"
    assert device_name(cards, changed(alone, world_size=2)) == "H200 + RTX 2080 Ti"
    assert device_name(cards, cpu) == device_name(plan.machine, cpu)


def test_shortage_keeps_the_bytes_and_no_seconds(tmp_path: Path) -> None:
    """A worker that held more than was predicted raises later estimates; a trial is no probe."""
    plan, path = tiny.plan(tmp_path), tmp_path / "points.jsonl"
    held = plan.memory.process_bytes.expected + 1
    record = changed(RECORD, status=Status.DEVICE_OOM, process_bytes=held)
    point = note_shortage(plan, record, path)
    assert point is not None
    assert (point.measured.process_bytes, point.measured.step_seconds) == (held, None)
    assert load_calibration(plan.machine, path) == [point]
    # A worker that ran out of memory leaves no versions: they are those of this installation.
    assert why_aged(point, installed_versions(), point.unix_time) is None


def test_the_raw_prediction_is_kept_whatever_corrections_the_plan_has(tmp_path: Path) -> None:
    """600 MiB of a plan corrected by 1.2 were 500 MiB of the plain model."""
    plan = changed(tiny.plan(tmp_path), memory_factor=1.2)
    point = probe_point(plan, RECORD, now=1.0)
    assert point.predicted.process_bytes == 500 * 2**20
    assert point.measured.step_seconds == 2.0
    assert point.unix_time == 1.0


def test_a_point_of_a_step_that_waited_for_its_link_says_what_is_left_for_the_rest(
    tmp_path: Path,
) -> None:
    """Of 291.2 ms forward waits for its link 38.9 less twice the 4.6 it hides; the rest is twice
    130.7 ms (the step of tests/probe/test_measured_plan.py at 1 MB/s); a shortage has no seconds.
    """
    copies = HostCopies(to_device=1e6, to_host=1e6, shared=1e6)
    plan = tiny.with_hardware(
        tiny.plan(tmp_path), streamed_layers=3, gradient_checkpointing=True, accelerator="cuda"
    )
    device = replace(HOPPER, host_copies=copies)
    plan = replace(plan, machine=replace(plan.machine, devices=(device,)))
    once = changed(RECORD, step_seconds=(0.0, 0.0, 0.29123))
    point = probe_point(plan, once, now=1.0)
    assert point.time_factor == point.own_factor == pytest.approx(2.0, rel=1e-3)
    short = changed(once, process_bytes=plan.memory.process_bytes.expected + 1)
    kept = note_shortage(plan, short, tmp_path / "points.jsonl")
    assert kept is not None
    assert (kept.own_factor, kept.time_factor) == (None, None)
