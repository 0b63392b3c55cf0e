"""The losses of parts of a batch: one forward of the model, then the head over each part.

Notation: B rows, S positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tsplanner.training.kernels.fused_loss import (
    fused_cross_entropy,
    has_compiled_loss,
    hidden_states,
    logit_changes,
)
from tsplanner.training.language_model import logit_config, text_config


def last_states(model: Any, batch: dict[str, Tensor], *, fused: bool) -> tuple[Tensor, Tensor]:
    """Last hidden states [B, S, D] (fused loss) or logits [B, S, V], and the labels [B, S]."""
    if fused:
        return hidden_states(model, **batch)
    batch = dict(batch)
    labels = batch.pop("labels")
    if "timeseries" in batch:
        merged = model.merged_inputs(labels=labels, **batch)
        batch = {"inputs_embeds": merged.inputs_embeds}
        if merged.position_ids is not None:
            batch["position_ids"] = merged.position_ids
        labels = merged.labels
    batch.pop("attention_mask", None)  # padding stands on the right
    return model(**batch, use_cache=False).logits, labels


def loss_of(
    model: Any, states: Tensor, labels: Tensor, items: Tensor | int | None, *, fused: bool
) -> Tensor:
    """Loss [] of a part of `last_states`: the sum over its labels divided by ``items``.

    ``items`` None: the mean over its own labels.
    """
    if not fused:
        loss: Tensor = model.loss_function(
            logits=states,
            labels=labels,
            vocab_size=text_config(model.config).vocab_size,
            num_items_in_batch=items,
        )
        return loss
    return fused_cross_entropy(
        states,
        model.get_output_embeddings(),
        labels,
        num_items_in_batch=items,
        changes=logit_changes(logit_config(model)),
        compiled=has_compiled_loss(model),
    )
