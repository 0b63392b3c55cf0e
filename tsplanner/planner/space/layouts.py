"""How the rows of an effective batch may go through the model: padded batches, packed passes."""

from __future__ import annotations

from memory_models.settings import BatchLayout
from memory_models.units import divisors
from tsplanner.planner.packing import sensible_budgets
from tsplanner.planner.request import PlanRequest

LARGEST_MICRO_BATCH = 64
"""Rows; beyond, a larger micro-batch fills no GPU any better."""


def padded_layouts(request: PlanRequest, world_size: int) -> list[BatchLayout]:
    """Micro-batches of a process's share of the rows; none where a token budget is pinned."""
    if request.pins.get("token_budget") is not None:
        return []
    whole = request.learning.optimization.effective_batch_size
    return [
        BatchLayout(
            micro_batch_size=micro,
            gradient_accumulation_steps=whole // (world_size * micro),
            checkpointed_layers=request.pins.get("checkpointed_layers"),
        )
        for micro in micro_batch_sizes(whole, world_size)
    ]


def packed_layouts(request: PlanRequest, world_size: int) -> list[BatchLayout]:
    """Packed passes of a process's share of the rows, by the pinned budget or sensible ones."""
    pins = request.pins
    rows = request.learning.optimization.effective_batch_size // world_size
    if "token_budget" in pins:
        pinned = pins.get("token_budget")
        budgets: tuple[int, ...] = () if pinned is None else (pinned,)
    elif "micro_batch_size" in pins:  # who asks for a micro-batch wants rows padded
        budgets = ()
    else:
        budgets = sensible_budgets(request.dataset.lengths, rows, world_size)
    return [
        BatchLayout(
            gradient_accumulation_steps=rows,
            checkpointed_layers=pins.get("checkpointed_layers"),
            token_budget=budget,
        )
        for budget in budgets
    ]


def micro_batch_sizes(effective_batch: int, world_size: int) -> list[int]:
    """Micro-batch sizes that divide a process's share of the effective batch exactly."""
    if effective_batch % world_size:
        return []
    share = effective_batch // world_size
    largest = min(share, LARGEST_MICRO_BATCH)
    return list(divisors(share, largest))
