"""A Trainer that gives a sign of life with every micro-batch, held-out row and save.

It also spares each micro-batch two visits of all modules: Trainer sets training mode and counts
weights before or after each, tens of milliseconds in which a GPU without queued work waits.
"""

from __future__ import annotations

from typing import Any

from tsplanner.training.pulse import Phase, Pulse
from tsplanner.training.solo.encoder_rate import EncoderRateTrainer
from tsplanner.training.training_mode import TrainingMode


class PulsingTrainer(EncoderRateTrainer):
    """Trainer whose parent can tell a long step from a process that stands still."""

    pulse: Pulse
    """Set before training begins."""

    _mode: TrainingMode | None = None
    _operations_per_token: int | None = None

    def training_step(self, model: Any, *args: Any, **options: Any) -> Any:
        """One micro-batch, and a beat after it."""
        if self._mode is None or self._mode.model is not model:
            self._mode = TrainingMode(model)
        with self._mode.kept():
            loss = super().training_step(model, *args, **options)
        self.pulse.beat()
        return loss

    def floating_point_ops(self, inputs: Any) -> int:
        """Operations of one micro-batch as Trainer counts them; weights are counted once."""
        ids = inputs.get("input_ids")
        if ids is None:
            return 0  # passes of packed rows, of which Trainer sees no tokens
        if self._operations_per_token is None:
            self._operations_per_token = super().floating_point_ops(inputs) // ids.numel()
        return self._operations_per_token * int(ids.numel())

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
