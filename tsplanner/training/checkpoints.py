"""Checkpoints of the first decoder layers only (``checkpointed_layers``)."""

from __future__ import annotations

from torch import nn

from tsplanner.errors import TsplannerError
from tsplanner.training.adapters import decoder_layers


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
