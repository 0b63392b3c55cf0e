"""A plan's collator and evaluation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from memory_models.settings import Dtype
from tests.support import tiny
from tsplanner.training.batches import EncodedSample
from tsplanner.training.packing.batch import PASSES
from tsplanner.training.packing.setup import (
    packed_collator,
    packed_evaluation,
    positions_of,
)

PACKED = {"micro_batch_size": 1, "gradient_accumulation_steps": 4, "token_budget": 16}


def test_patches_take_the_places_of_the_marks_of_their_series() -> None:
    """Seventeen values are three patches of eight: ten tokens are eleven positions."""
    config = SimpleNamespace(ts={"patch_size": 8, "num_layers": 1, "hidden_size": 8})
    row = EncodedSample(input_ids=[1] * 10, labels=[1] * 10, series=((0.0,) * 17,))
    assert positions_of(config)(row) == 11
    assert positions_of(SimpleNamespace())(row) == 10


def test_a_plan_cuts_steps_by_its_budget(tmp_path: Path) -> None:
    """Three rows of ten tokens in passes of sixteen."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), **PACKED)
    row = EncodedSample(input_ids=[1] * 10, labels=[1] * 10)
    step = packed_collator(plan, SimpleNamespace(), pad_id=0)([row] * 3)
    assert len(step[PASSES]) == 3


def test_an_evaluation_has_the_precision_of_the_plan(tmp_path: Path) -> None:
    """It calls the base itself, past Trainer's autocast."""
    import torch

    half = tiny.with_hardware(tiny.plan(tmp_path), **PACKED, autocast=Dtype.BF16)
    assert packed_evaluation(half, SimpleNamespace(), 0).autocast is torch.bfloat16
