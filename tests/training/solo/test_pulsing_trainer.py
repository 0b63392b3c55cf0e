"""A Trainer gives a sign of life with every piece of its work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tsplanner.training.solo.encoder_rate import EncoderRateTrainer
from tsplanner.training.solo.pulsing_trainer import PulsingTrainer


class Beats:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def beat(self) -> None:
        """A piece of work is done."""
        self.heard.append("beat")

    def during(self, phase: str) -> Any:
        """Another kind of work begins and ends."""
        heard = self.heard

        class Kind:
            """The kind of work."""

            def __enter__(self) -> None:
                """It begins."""
                heard.append(str(phase))

            def __exit__(self, *_: object) -> None:
                """It ends."""
                heard.append(f"end of {phase}")

        return Kind()


@pytest.mark.parametrize(
    ("method", "heard"),
    [
        ("training_step", ["work", "beat"]),
        ("prediction_step", ["work", "beat"]),
        ("evaluation_loop", ["evaluate", "work", "end of evaluate"]),
        ("save_model", ["save", "work", "end of save"]),
        ("_save_checkpoint", ["save", "work", "end of save"]),
    ],
)
def test_each_piece_of_work_is_heard(
    monkeypatch: pytest.MonkeyPatch, method: str, heard: list[str]
) -> None:
    """The beat comes once the work is done."""
    beats = Beats()
    monkeypatch.setattr(
        EncoderRateTrainer, method, lambda *_: beats.heard.append("work"), raising=False
    )
    trainer = PulsingTrainer.__new__(PulsingTrainer)
    trainer.pulse = beats  # type: ignore[assignment]
    getattr(trainer, method)(*([nn.Linear(1, 1)] if method == "training_step" else []))
    assert beats.heard == heard


def test_operations_are_counted_by_tokens_and_weights_are_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """6 operations per weight and token; Trainer counts the weights for every micro-batch."""
    asked: list[int] = []

    def trainers_own(_: Any, inputs: dict[str, Tensor]) -> int:
        asked.append(inputs["input_ids"].numel())
        return 6 * 100 * inputs["input_ids"].numel()

    monkeypatch.setattr(EncoderRateTrainer, "floating_point_ops", trainers_own, raising=False)
    trainer = PulsingTrainer.__new__(PulsingTrainer)
    batches = [{"input_ids": torch.zeros(2, length)} for length in (3, 5, 4)]
    assert [trainer.floating_point_ops(each) for each in batches] == [3600, 6000, 4800]
    assert asked == [6]
    assert trainer.floating_point_ops({"passes": batches}) == 0
