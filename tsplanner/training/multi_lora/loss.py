"""One pass of the base over the rows of several trials: a loss for each part of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsplanner.training.batches import EncodedSample, collate, without_mask
from tsplanner.training.kernels.fused_loss import (
    IGNORED,
    fused_cross_entropy,
    hidden_states,
    logit_changes,
)
from tsplanner.training.language_model import logit_config, text_config
from tsplanner.training.multi_lora.linears import TrialLayout, TrialRows

Losses = Callable[[Tensor, Tensor, int | None], Tensor]


class MultiLoraLoss:
    """Runs the base with its head and loss over rows that are padded to one length."""

    def __init__(
        self,
        model: Any,
        layout: TrialLayout,
        *,
        pad_id: int,
        fused: bool,
        autocast: torch.dtype | None,
    ) -> None:
        self.model, self.layout = model, layout
        self.pad_id, self.fused, self.autocast = pad_id, fused, autocast
        self.device: torch.device = next(model.parameters()).device

    def losses(
        self,
        rows: Sequence[Sequence[EncodedSample]],
        trials: Sequence[str],
        items: Sequence[int | None],
    ) -> list[Tensor]:
        """A loss [] for each group of rows: the sum over its labels divided by its ``items``.

        ``items`` None: the mean over the group's own labels. Groups with fewer rows than others,
        at the end of an epoch, are filled up with empty ones. The layout stays set for backward.
        """
        self.layout.segments = tuple(
            TrialRows(trial, sum(len(row.series) for row in group))
            for trial, group in zip(trials, rows, strict=True)
        )
        most = max(len(group) for group in rows)
        empty = EncodedSample(input_ids=[self.pad_id], labels=[IGNORED])
        equal = [[*group, *[empty] * (most - len(group))] for group in rows]
        batch = self._batch([row for group in equal for row in group])
        device = self.device.type
        with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            states, labels = self._last(batch)
            # One split: its gradient is joined once, where slices would each be filled up with
            # zeros to the whole and added.
            parts = zip(states.split(most), labels.split(most), items, strict=True)
            return [self._loss(part, targets, count) for part, targets, count in parts]

    def _batch(self, rows: Sequence[EncodedSample]) -> dict[str, Tensor]:
        batch = collate(rows, self.pad_id)
        if not hasattr(self.model, "merged_inputs"):
            batch = without_mask(batch)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _last(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Last hidden states (fused loss) or logits, and the labels that match them."""
        if self.fused:
            return hidden_states(self.model, **batch)
        labels = batch.pop("labels")
        if "timeseries" in batch:
            merged = self.model.merged_inputs(labels=labels, **batch)
            batch = {"inputs_embeds": merged.inputs_embeds}
            labels = merged.labels
        batch.pop("attention_mask", None)  # padding stands on the right
        return self.model(**batch, use_cache=False).logits, labels

    def _loss(self, states: Tensor, labels: Tensor, items: int | None) -> Tensor:
        if not self.fused:
            loss: Tensor = self.model.loss_function(
                logits=states,
                labels=labels,
                vocab_size=text_config(self.model.config).vocab_size,
                num_items_in_batch=items,
            )
            return loss
        changes = logit_changes(logit_config(self.model))
        head = self.model.get_output_embeddings()
        return fused_cross_entropy(states, head, labels, num_items_in_batch=items, changes=changes)

    @torch.no_grad()
    def row_losses(
        self,
        rows: Sequence[EncodedSample],
        trial: str,
        together: int,
        after_each: Callable[[], None] = lambda: None,
    ) -> list[tuple[float, int]]:
        """Mean loss and labels of every row by one trial's adapter, ``together`` rows per pass.

        ``after_each`` is called after each pass.
        """
        self.model.eval()
        found: list[Tensor] = []
        for start in range(0, len(rows), together):
            part = rows[start : start + together]
            found += self.losses([[row] for row in part], [trial] * len(part), [None] * len(part))
            after_each()
        self.model.train()
        values = torch.stack(found).float().tolist() if found else []
        return list(zip(values, map(label_count, rows), strict=True))


def label_count(row: EncodedSample) -> int:
    """Number of labels that count: nothing before the first position predicts it."""
    return int((np.asarray(row.labels)[1:] != IGNORED).sum())
