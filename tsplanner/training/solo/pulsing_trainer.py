"""A Trainer that gives a sign of life with every micro-batch, held-out row and save."""

from __future__ import annotations

from typing import Any

from tsplanner.training.pulse import Phase, Pulse
from tsplanner.training.solo.encoder_rate import EncoderRateTrainer


class PulsingTrainer(EncoderRateTrainer):
    """Trainer whose parent can tell a long step from a process that stands still."""

    pulse: Pulse
    """Set before training begins."""

    def training_step(self, *args: Any, **options: Any) -> Any:
        """One micro-batch, and a beat after it."""
        loss = super().training_step(*args, **options)
        self.pulse.beat()
        return loss

    def prediction_step(self, *args: Any, **options: Any) -> Any:
        """One batch of held-out rows, and a beat after it."""
        result = super().prediction_step(*args, **options)
        self.pulse.beat()
        return result

    def evaluation_loop(self, *args: Any, **options: Any) -> Any:
        """Evaluate, in a phase of its own."""
        with self.pulse.during(Phase.EVALUATE):
            return super().evaluation_loop(*args, **options)

    def save_model(self, *args: Any, **options: Any) -> None:
        """Save the weights, which takes as long as the disk does."""
        with self.pulse.during(Phase.SAVE):
            super().save_model(*args, **options)

    def _save_checkpoint(self, *args: Any, **options: Any) -> None:
        with self.pulse.during(Phase.SAVE):
            super()._save_checkpoint(*args, **options)
