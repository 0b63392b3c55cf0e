"""Seconds that a probe measured go before those that were predicted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.device import HostCopies
from tests.support import tiny
from tests.support.toy_request import HOPPER
from tsplanner.planner.files import write_plan
from tsplanner.probe.measured_plan import BASIS, measured_factor, plan_digest, with_probe


def probed(folder: Path, **changes: object) -> Path:
    """A plan's file with a probe beside it that took 9.7 s where 25.9 were predicted."""
    file = write_plan(tiny.plan(folder), folder / "saves" / "tiny" / "plan.json")
    document = {
        "status": "ok",
        "step_seconds": {"predicted": 25.9, "measured": 9.7},
        "plan_digest": plan_digest(file),
    }
    (file.parent / "probe.json").write_text(json.dumps(document | changes))
    return file


def test_a_probe_of_this_very_plan_scales_its_seconds(tmp_path: Path) -> None:
    """9.7 / 25.9 = 0.3745 of all that was predicted, with the error of a probe."""
    file, plan = probed(tmp_path), tiny.plan(tmp_path)
    found = with_probe(plan, file)
    factor = 9.7 / 25.9
    assert measured_factor(file) == pytest.approx(factor)
    assert found.time.total_seconds == pytest.approx(plan.time.total_seconds * factor)
    assert found.time.step_seconds == pytest.approx(plan.time.step_seconds * factor)
    assert found.corrections.work_factor == pytest.approx(plan.corrections.work_factor * factor)
    assert (found.time.basis, found.memory) == (BASIS, plan.memory)
    assert found.time.relative_error == min(plan.time.relative_error, 0.15)


def test_a_streamed_plan_keeps_its_link_as_fast_as_it_was(tmp_path: Path) -> None:
    """Forward takes 14.7 ms, backward 64.5 and the rest 51.6; 0.313 of each half hides the link, as
    two of four layers are the outer ones. At 1 MB/s a layer's weights take 38.9 ms in each half: of
    twice 130.7 + 34.3 + 18.7 ms 328.7 are left for all but forward's wait, 2.605 times 130.7 less
    the 4.6 that forward hides. At 0.3 MB/s they take 129.7 ms, and then each half says nothing; at
    1 GB/s they hide.
    """
    plan = tiny.with_hardware(tiny.plan(tmp_path), streamed_layers=3, gradient_checkpointing=True)
    for rate, factor in ((1e9, 2.0), (1e6, 2.605), (3e5, 1.0)):
        copies = HostCopies(to_device=rate, to_host=rate, shared=rate)
        devices = (replace(HOPPER, host_copies=copies),)
        here = replace(plan, machine=replace(plan.machine, devices=devices))
        on_gpu = tiny.with_hardware(here, accelerator="cuda")
        file = write_plan(on_gpu, tmp_path / str(rate) / "plan.json")
        figures = {"predicted": 1.0, "measured": 2.0}
        document = {"status": "ok", "step_seconds": figures, "plan_digest": plan_digest(file)}
        (file.parent / "probe.json").write_text(json.dumps(document))
        found = with_probe(on_gpu, file)
        assert found.time.step_seconds == pytest.approx(2 * plan.time.step_seconds)
        assert found.corrections.launch_factor == pytest.approx(factor, rel=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_digest": "another plan"},
        {"status": "crashed"},
        {"step_seconds": {"predicted": 1.0, "measured": None}},
        {"step_seconds": {"predicted": 0.0, "measured": 1.0}},
        {"step_seconds": {"predicted": 1.0, "measured": 0.0}},
    ],
)
def test_a_probe_of_another_plan_or_a_failed_one_says_nothing(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    """The plan stays as it is."""
    file, plan = probed(tmp_path, **changes), tiny.plan(tmp_path)
    assert measured_factor(file) is None
    assert with_probe(plan, file) == plan


def test_without_a_probe_or_with_half_of_one_nothing_changes(tmp_path: Path) -> None:
    """The file may be missing, or be cut off."""
    file, plan = probed(tmp_path), tiny.plan(tmp_path)
    for text in ("{", "[]", ""):
        (file.parent / "probe.json").write_text(text)
        assert with_probe(plan, file) == plan
    (file.parent / "probe.json").unlink()
    assert with_probe(plan, file) == plan
