"""Random numbers of a pass depend on its place in the training alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.solo.pulsing_trainer import PulsingTrainer  # noqa: E402
from tsplanner.training.solo.seeded_passes import SeededTrainer, pass_seed  # noqa: E402


def test_every_place_has_a_seed_of_its_own() -> None:
    """Steps, passes and processes do not repeat each other; a seed fits 63 bits."""
    seeds = {pass_seed(42, *place) for place in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    assert len(seeds) == 4
    assert max(seeds) < 2**63
    assert pass_seed(42, 3, 1, 0) == pass_seed(42, 3, 1, 0)


def test_passes_are_counted_from_the_first_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second pass of a step draws the same, whatever was drawn in the first."""
    drawn: list[float] = []

    def one(self: Any) -> None:
        drawn.append(float(torch.rand(())))

    monkeypatch.setattr(PulsingTrainer, "training_step", one)
    trainer = SeededTrainer.__new__(SeededTrainer)
    trainer.args, trainer.state = SimpleNamespace(seed=7), SimpleNamespace(global_step=0)
    for step in (0, 0, 1, 1):
        trainer.state.global_step = step
        trainer.training_step()
    torch.rand(99)
    trainer.pass_number, trainer._step = 1, 1
    trainer.training_step()
    assert len(set(drawn)) == 4
    assert drawn[4] == drawn[3]
