"""Activation checkpointing of only the first decoder layers (``checkpointed_layers``)."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tsplanner.errors import TsplannerError
from tsplanner.training.adapters import decoder_layers


class FirstLayersOnly(TrainerCallback):
    """Calls ``checkpoint_first`` after Trainer has enabled checkpointing in all layers."""

    def __init__(self, count: int | None) -> None:
        self.count = count

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Turn checkpointing off in the later layers of Trainer's model."""
        checkpoint_first(parts["model"], self.count)


def require_checkpointing(model: nn.Module) -> None:
    """Raise TsplannerError for a model whose code cannot run layers again (CTRL, JetMoe)."""
    if not getattr(model, "supports_gradient_checkpointing", True):
        raise TsplannerError(
            f"{type(model).__name__} supports no activation checkpointing in the installed "
            "transformers: set gradient_checkpointing false (--gradient-checkpointing false)."
        )


def checkpoint_first(model: nn.Module, count: int | None) -> None:
    """Turn checkpointing off in all decoder layers except the first ``count``; None: in no layer.

    Checkpointing must be enabled before, because enabling it sets the flag of every layer.

    Raises TsplannerError for a model whose layers have no separate flag.
    """
    if count is None:
        return
    _, layers = decoder_layers(model)
    for place, layer in enumerate(layers):
        # transformers' GradientCheckpointingLayer (modeling_layers.py) reads a flag per layer.
        # Older and remote code reads the flag of the whole decoder and would ignore the layer's.
        if not hasattr(type(layer), "gradient_checkpointing"):
            raise TsplannerError(
                f"{type(layer).__name__} has no checkpointing of its own: "
                "plan again with --checkpointed-layers all."
            )
        # The first layers are chosen, because when they run again, what the others kept is freed.
        layer.gradient_checkpointing = place < count
