"""A plan's packed collator and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from memory_models.settings import LossKernel
from tsplanner.planner.plan import Plan
from tsplanner.training.base_model.configuration import DTYPES
from tsplanner.training.batches import EncodedSample
from tsplanner.training.data import series_encoder
from tsplanner.training.packing.batch import step_of_passes
from tsplanner.training.packing.evaluation import PackedEvaluation

PositionsOf = Callable[[EncodedSample], int]


def positions_of(config: Any) -> PositionsOf:
    """The decoder positions of a row, of a model of this configuration."""
    encoder = series_encoder(config)

    def positions(row: EncodedSample) -> int:
        # Two marks of the text give way to the patches of each series.
        patches = 0 if encoder is None else sum(encoder.patches(len(s)) - 2 for s in row.series)
        return len(row.input_ids) + patches

    return positions


def packed_collator(
    plan: Plan, config: Any, pad_id: int
) -> Callable[[Sequence[EncodedSample]], dict[str, Any]]:
    """The collator of Trainer's data loader, whose batch is a whole optimizer step."""
    budget, positions = plan.hardware.batch.token_budget, positions_of(config)
    noise = plan.learning.optimization.neftune_noise_alpha is not None
    assert budget is not None

    def collate(rows: Sequence[EncodedSample]) -> dict[str, Any]:
        lengths = [positions(row) for row in rows]
        return step_of_passes(rows, lengths, budget, pad_id, places=noise)

    return collate


def packed_evaluation(plan: Plan, config: Any, pad_id: int) -> PackedEvaluation:
    """How a packed plan evaluates its held-out rows."""
    hardware = plan.hardware
    budget, autocast = hardware.batch.token_budget, hardware.base.autocast
    assert budget is not None
    return PackedEvaluation(
        positions_of(config),
        budget,
        pad_id,
        fused=hardware.kernels.loss_kernel is LossKernel.FUSED,
        autocast=None if autocast is None else DTYPES[autocast],
    )
