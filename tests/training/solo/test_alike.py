"""What the processes of a run keep alike."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.support import tiny
from tsplanner.training.adapters import apply_method
from tsplanner.training.base_model.build import build_model
from tsplanner.training.solo.alike import left_out


def test_ddp_joins_the_adapters_and_leaves_the_base_and_all_buffers_out(tmp_path: Path) -> None:
    """A frozen base is the same on every process, and so are the tables of the rotation."""
    plan = tiny.plan(tmp_path)
    trained = apply_method(plan, build_model(plan, "cpu"), 4)
    names = {name for name, _ in [*trained.named_parameters(), *trained.named_buffers()]}
    kept = names - set(left_out(trained))
    assert kept == {name for name in names if "lora_" in name}
    assert kept
