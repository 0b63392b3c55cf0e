"""Held-out rows in packed passes, each with a loss of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from tsplanner.planner.packing import EVALUATED_TOGETHER, bins
from tsplanner.training.batches import EncodedSample, label_count
from tsplanner.training.kernels.row_losses import last_states, mean_losses
from tsplanner.training.packing.batch import laid_end_to_end

PASSES_TOGETHER = 4
"""Passes that a streamed base takes through each layer at once."""
Pass = Callable[[], list[torch.Tensor]]
"""Runs one pass; the losses of its rows."""


def one_by_one(passes: Sequence[Pass]) -> list[list[torch.Tensor]]:
    """Run passes one after the other."""
    return [each() for each in passes]


class PackedEvaluation:
    """Runs held-out rows through a model in passes of at most ``budget`` positions."""

    def __init__(
        self,
        positions_of: Callable[[EncodedSample], int],
        budget: int,
        pad_id: int,
        *,
        fused: bool,
        autocast: torch.dtype | None,
    ) -> None:
        self.positions_of, self.budget, self.pad_id = positions_of, budget, pad_id
        self.fused, self.autocast = fused, autocast
        self.before: Callable[[list[EncodedSample]], None] = lambda rows: None
        """Called with the rows of a pass before it."""
        self.together: Callable[[Sequence[Pass]], list[list[torch.Tensor]]] = one_by_one
        """Runs a few passes; a streamed base runs them layer by layer."""
        self.most_passes: Callable[[int], int] = lambda passes: passes
        """Passes that every process makes of a part for which this one needs so many."""

    @torch.no_grad()
    def row_losses(
        self, model: Any, rows: Sequence[EncodedSample], after_each: Callable[[], None]
    ) -> list[tuple[float, int]]:
        """Mean loss and number of labels of every row, in order; ``after_each`` after a pass."""
        model.eval()
        found: list[tuple[float, int]] = []
        for start in range(0, len(rows), EVALUATED_TOGETHER):
            part = [
                rows[place] for place in range(start, min(start + EVALUATED_TOGETHER, len(rows)))
            ]
            found += self._part(model, part, after_each)
        model.train()
        return found

    def _part(
        self, model: Any, rows: list[EncodedSample], after_each: Callable[[], None]
    ) -> list[tuple[float, int]]:
        lengths = [self.positions_of(row) for row in rows]
        losses: dict[int, torch.Tensor] = {}
        cut = list(bins(lengths, self.budget))
        cut += [cut[0]] * (self.most_passes(len(cut)) - len(cut))
        for start in range(0, len(cut), PASSES_TOGETHER):
            group = cut[start : start + PASSES_TOGETHER]
            passes = [partial(self._pass, model, rows, lengths, places) for places in group]
            for places, each in zip(group, self.together(passes), strict=True):
                losses.update(zip(places, each, strict=True))
                after_each()
        values = torch.stack([losses[place] for place in range(len(rows))]).tolist()
        return [(loss, label_count(row)) for loss, row in zip(values, rows, strict=True)]

    def _pass(
        self, model: Any, rows: list[EncodedSample], lengths: list[int], places: Sequence[int]
    ) -> list[torch.Tensor]:
        """The loss of each of the rows at these places."""
        device, together = next(model.parameters()).device, [rows[place] for place in places]
        self.before(together)
        batch = {
            name: tensor.to(device)
            for name, tensor in laid_end_to_end(together, self.pad_id).items()
        }
        with torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None):
            states, labels = last_states(model, batch, fused=self.fused)
            # What is left over is the padding at the end.
            own = [lengths[place] for place in places]
            sizes = [*own, states.shape[1] - sum(own)]
            found = mean_losses(model, states, labels, sizes, fused=self.fused)
            return [loss.float() for loss in found[:-1]]
