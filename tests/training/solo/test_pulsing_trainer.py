"""A Trainer gives a sign of life with every piece of its work."""

from __future__ import annotations

from typing import Any

import pytest

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
    getattr(trainer, method)()
    assert beats.heard == heard
