"""One pass of the base over the rows of several trials: a loss for each part of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tsplanner.datasets.lengths.tally import padded_tokens
from tsplanner.training.batches import (
    EncodedSample,
    collate,
    label_count,
    series_tensor,
    without_mask,
)
from tsplanner.training.kernels.fused_loss import IGNORED
from tsplanner.training.kernels.row_losses import last_states, loss_of
from tsplanner.training.multi_lora.linears import TrialLayout, TrialRows
from tsplanner.training.packing.batch import laid_end_to_end
from tsplanner.training.packing.setup import PositionsOf

Losses = Callable[[Tensor, Tensor, int | None], Tensor]


class MultiLoraLoss:
    """Runs the base with its head and loss over rows of several trials."""

    def __init__(
        self,
        model: Any,
        layout: TrialLayout,
        *,
        pad_id: int,
        fused: bool,
        autocast: torch.dtype | None,
        positions_of: PositionsOf | None = None,
    ) -> None:
        """``positions_of``: decoder positions of a row, where rows are packed; None: padded."""
        self.model, self.layout = model, layout
        self.pad_id, self.fused, self.autocast = pad_id, fused, autocast
        self.positions_of = positions_of
        self.device: torch.device = next(model.parameters()).device

    def losses(
        self,
        rows: Sequence[Sequence[EncodedSample]],
        trials: Sequence[str],
        items: Sequence[int | None],
    ) -> list[Tensor]:
        """A loss [] for each group of rows: the sum over its labels divided by its ``items``.

        ``items`` None: the mean over the group's own labels. The layout stays set for backward.
        """
        widths = self._widths(rows)
        self.layout.give(
            *(
                TrialRows(trial, sum(len(row.series) for row in group), width)
                for trial, group, width in zip(trials, rows, widths, strict=True)
            )
        )
        batch = self._padded(rows) if self.positions_of is None else self._packed(rows)
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        device, dim = self.device.type, 0 if self.positions_of is None else 1
        with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            states, labels = last_states(self.model, batch, fused=self.fused)
            # One split: its gradient is joined once, where slices would each be filled up with
            # zeros to the whole and added.
            equal = states.shape[dim] // len(rows)
            sizes = [equal if width is None else width for width in widths]
            parts = zip(states.split(sizes, dim), labels.split(sizes, dim), items, strict=True)
            return [
                loss_of(self.model, part, targets, count, fused=self.fused)
                for part, targets, count in parts
            ]

    def _padded(self, rows: Sequence[Sequence[EncodedSample]]) -> dict[str, Tensor]:
        """Rows below each other; groups with fewer rows, at the end of an epoch, get empty ones."""
        most = max(len(group) for group in rows)
        empty = EncodedSample(input_ids=[self.pad_id], labels=[IGNORED])
        equal = [[*group, *[empty] * (most - len(group))] for group in rows]
        batch = collate([row for group in equal for row in group], self.pad_id)
        return batch if hasattr(self.model, "merged_inputs") else without_mask(batch)

    def _widths(self, rows: Sequence[Sequence[EncodedSample]]) -> list[int | None]:
        """Positions of each group; None: all groups have as many, below each other."""
        if self.positions_of is None:
            return [None] * len(rows)
        return [padded_tokens(sum(map(self.positions_of, group))) for group in rows]

    def _packed(self, rows: Sequence[Sequence[EncodedSample]]) -> dict[str, Tensor]:
        """All groups end to end, each filled up to a multiple of 8 positions."""
        assert self.positions_of is not None
        lengths = [sum(map(self.positions_of, group)) for group in rows]
        groups = [
            laid_end_to_end(group, self.pad_id, padded_tokens(length) - length)
            for group, length in zip(rows, lengths, strict=True)
        ]
        names = ("input_ids", "labels", "position_ids")
        batch = {name: torch.cat([each[name] for each in groups], dim=1) for name in names}
        if series := [values for group in rows for row in group for values in row.series]:
            batch["timeseries"] = series_tensor(series)
        return batch

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
