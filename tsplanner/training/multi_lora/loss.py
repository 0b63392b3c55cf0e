"""One pass of the base over the rows of several trials: a loss for each part of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tsplanner.training.batches import EncodedSample, collate, label_count, without_mask
from tsplanner.training.kernels.fused_loss import IGNORED
from tsplanner.training.kernels.row_losses import last_states, loss_of
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
            states, labels = last_states(self.model, batch, fused=self.fused)
            # One split: its gradient is joined once, where slices would each be filled up with
            # zeros to the whole and added.
            parts = zip(states.split(most), labels.split(most), items, strict=True)
            return [
                loss_of(self.model, part, targets, count, fused=self.fused)
                for part, targets, count in parts
            ]

    def _batch(self, rows: Sequence[EncodedSample]) -> dict[str, Tensor]:
        batch = collate(rows, self.pad_id)
        if not hasattr(self.model, "merged_inputs"):
            batch = without_mask(batch)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

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
