"""A Trainer whose batch is a whole optimizer step of packed passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from tsplanner.training.batches import IGNORED_LABEL
from tsplanner.training.packing.batch import PASSES
from tsplanner.training.solo.seeded_passes import SeededTrainer


class PackingTrainer(SeededTrainer):
    """Runs the passes of a step one after the other; each adds its share to the step's loss.

    Trainer accumulates a fixed number of micro-batches. Packed rows make as many passes as their
    lengths need, so Trainer gets a step as one batch and accumulates nothing itself. Any other
    batch goes through as it is.
    """

    most_passes: Callable[[int], int] = staticmethod(lambda passes: passes)
    """Passes that every process makes of a step in which this one needs so many."""

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Forward and backward of every pass; the sum of their losses."""
        passes = inputs.get(PASSES)
        if passes is None:
            whole: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return whole
        lacking = self.most_passes(len(passes)) - len(passes)
        if lacking:
            passes = [*passes, *[idle(passes)] * lacking]
        total: torch.Tensor | None = None
        for number, each in enumerate(passes, start=1):
            last = number == len(passes)
            # DDP joins the gradients of all processes in the backward of the last pass alone.
            with nullcontext() if last else self.accelerator.no_sync(model):
                loss = super().training_step(model, each, num_items_in_batch)
            total = loss if total is None else total + loss
        assert total is not None
        return total


def idle(passes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A pass in which no token carries loss, as short as the shortest of ``passes``."""
    shortest = min(passes, key=lambda each: int(each["labels"].numel()))
    return {**shortest, "labels": torch.full_like(shortest["labels"], IGNORED_LABEL)}
