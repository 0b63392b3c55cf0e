"""The losses of parts of a batch: one forward of the model, then the head over each part.

Notation: B rows, S positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tsplanner.training.kernels.fused_loss import (
    IGNORED,
    fused_cross_entropy,
    has_compiled_loss,
    hidden_states,
    is_shared,
    logit_changes,
    shared_losses,
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


def mean_losses(
    model: Any, states: Tensor, labels: Tensor, sizes: Sequence[int], *, fused: bool
) -> list[Tensor]:
    """Mean loss [] of every row that a pass [1, S, ...] is made of; ``sizes``: their positions.

    A head that processes share out works once a pass, for all of them make equally many passes, and
    not equally many rows.
    """
    if fused and is_shared(model.get_output_embeddings()):
        return _by_row(model, states, labels, sizes)
    parts = zip(states.split([*sizes], dim=1), labels.split([*sizes], dim=1), strict=True)
    return [loss_of(model, part, targets, None, fused=fused) for part, targets in parts]


def _by_row(model: Any, states: Tensor, labels: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    # The first label of each row is none, so that a shift of them all is one of each row.
    targets = labels[:, 1:]
    kept = targets != IGNORED
    losses = shared_losses(
        model.get_output_embeddings(),
        states[:, :-1][kept],
        targets[kept],
        labels.numel(),
        logit_changes(logit_config(model)),
    )
    counts = torch.tensor(sizes, device=labels.device)
    rows = torch.repeat_interleave(torch.arange(len(sizes), device=labels.device), counts)
    own = rows[1:].unsqueeze(0)[kept]
    sums = losses.new_zeros(len(sizes)).index_add_(0, own, losses)
    labelled = torch.bincount(own, minlength=len(sizes))
    return list(sums / labelled)
