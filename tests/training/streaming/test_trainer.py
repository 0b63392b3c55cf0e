"""A Trainer that waits for the last micro-batch of a step."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.packing.batch import PASSES  # noqa: E402
from tsplanner.training.packing.trainer import PackingTrainer  # noqa: E402
from tsplanner.training.streaming.trainer import LayerMajorTrainer  # noqa: E402


def trainer(monkeypatch: pytest.MonkeyPatch) -> LayerMajorTrainer:
    """One whose passes have their input as their loss."""

    def one(self: Any, model: Any, inputs: Any, items: Any) -> Any:
        return torch.tensor(inputs["x"])

    monkeypatch.setattr(PackingTrainer, "training_step", one)
    made = LayerMajorTrainer.__new__(LayerMajorTrainer)
    made.accelerator = SimpleNamespace(sync_gradients=False, no_sync=lambda model: nullcontext())
    made.args = SimpleNamespace(device=torch.device("cpu"))
    made.pulse = SimpleNamespace(beat=lambda: None)
    return made


def test_micro_batches_run_together_once_the_last_one_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Losses of 1, 2 and 3 count 0, 0 and 6."""
    together: list[int] = []

    def train(passes: list[Any]) -> list[Any]:
        together.append(len(passes))
        return [each() for each in passes]

    made, model = trainer(monkeypatch), torch.nn.Linear(1, 1)
    made.layer_major = SimpleNamespace(train=train)  # type: ignore[assignment]
    losses = []
    for value in (1.0, 2.0, 3.0):
        made.accelerator.sync_gradients = value == 3.0
        losses.append(float(made.training_step(model, {"x": value})))
    assert losses == [0.0, 0.0, 6.0]
    assert together == [3]
    packed = {PASSES: [{"x": 1.0}, {"x": 4.0}]}
    assert float(made.training_step(model, packed)) == 5.0


def test_a_resident_base_takes_micro_batches_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits."""
    assert float(trainer(monkeypatch).training_step(None, {"x": 2.0})) == 2.0
