"""A step of several passes."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.packing.batch import PASSES  # noqa: E402
from tsplanner.training.packing.trainer import PackingTrainer, idle  # noqa: E402
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


def test_a_process_with_fewer_passes_makes_idle_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes three: the second and third carry no loss, and the last one joins."""
    seen: list[list[int]] = []

    def one(self: Any, model: Any, inputs: Any, items: Any = None) -> Any:
        seen.append(inputs["labels"].tolist())
        return (inputs["labels"] >= 0).sum().float()

    monkeypatch.setattr(SeededTrainer, "training_step", one)
    trainer = PackingTrainer.__new__(PackingTrainer)
    trainer.accelerator = SimpleNamespace(no_sync=lambda _: nullcontext())
    trainer.most_passes = lambda passes: passes + 2
    whole = {"labels": torch.tensor([5, 6, 7])}
    assert float(trainer.training_step(None, {PASSES: [whole]}, 3)) == 3.0
    assert seen == [[5, 6, 7], [-100] * 3, [-100] * 3]


def test_an_idle_pass_is_the_shortest_one() -> None:
    """Its tokens pass through the model, and nothing is learned by them."""
    long, short = ({"labels": torch.arange(n), "input_ids": torch.arange(n)} for n in (9, 4))
    found = idle([long, short])
    assert found["input_ids"] is short["input_ids"]
    assert found["labels"].tolist() == [-100] * 4
