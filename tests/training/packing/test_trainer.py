"""A step of several passes."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.packing.batch import PASSES  # noqa: E402
from tsplanner.training.packing.trainer import PackingTrainer  # noqa: E402
from tsplanner.training.solo.seeded_passes import SeededTrainer  # noqa: E402


def test_gradients_are_joined_in_the_last_pass_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses of 1, 2 and 3 add up to 6; before the last pass no process waits for another."""
    waited: list[str] = []

    def one(self: Any, model: Any, inputs: Any, items: Any = None) -> Any:
        waited.append(f"pass {inputs}")
        return torch.tensor(float(inputs))

    def no_sync(model: Any) -> Any:
        waited.append("alone")
        return nullcontext()

    monkeypatch.setattr(SeededTrainer, "training_step", one)
    trainer = PackingTrainer.__new__(PackingTrainer)
    trainer.accelerator = SimpleNamespace(no_sync=no_sync)
    assert float(trainer.training_step(None, {PASSES: [1, 2, 3]}, 4)) == 6.0
    assert waited == ["alone", "pass 1", "alone", "pass 2", "pass 3"]
