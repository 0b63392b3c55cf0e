"""Random weights: the same ones every time."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.support import tiny
from tsplanner.training.base_model.build import build_model


def test_random_weights_are_the_same_every_time(tmp_path: Path) -> None:
    """An adapter that was trained on them finds its base again, whatever the plan's own seed."""
    plan = tiny.plan(tmp_path)
    first = build_model(plan, torch.device("cpu")).state_dict()
    second = build_model(tiny.with_learning(plan, seed=7), torch.device("cpu")).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
