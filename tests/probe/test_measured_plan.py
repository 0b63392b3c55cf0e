"""Seconds that a probe measured go before those that were predicted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import tiny
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
