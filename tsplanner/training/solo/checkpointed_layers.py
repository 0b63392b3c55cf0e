"""Checkpoints of the first decoder layers only (``checkpointed_layers``)."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tsplanner.errors import TsplannerError
from tsplanner.training.adapters import decoder_layers


class FirstLayersOnly(TrainerCallback):
    """Has ``checkpoint_first`` done once Trainer has switched on the checkpoints of all layers."""

    def __init__(self, count: int | None) -> None:
        self.count = count

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Trainer hands the model over."""
        checkpoint_first(parts["model"], self.count)


def checkpoint_first(model: nn.Module, count: int | None) -> None:
    """Take the checkpoints off all decoder layers but the first ``count``; None: leave all.

    For a model whose checkpointing was enabled already: that sets the flag of every layer.

    Raises TsplannerError for a model whose layers have no flag of their own.
    """
    if count is None:
        return
    _, layers = decoder_layers(model)
    for place, layer in enumerate(layers):
        # Older and remote code asks the whole decoder's flag, so a layer's would be ignored.
        if not hasattr(type(layer), "gradient_checkpointing"):
            raise TsplannerError(
                f"{type(layer).__name__} has no checkpointing of its own: "
                "plan again with --checkpointed-layers all."
            )
        layer.gradient_checkpointing = place < count
