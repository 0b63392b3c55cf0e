"""The phases of one optimizer step in their order, written once.

``step_phases.py`` counts the peak of each phase, and ``allocator/replay.py`` replays the events of
each phase; both walk this order.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum


class StepPhase(StrEnum):
    """A part of training at which memory may peak; plans and ``estimate --json`` hold it."""

    LOAD = "load"
    """The engine is built, before the first step."""
    FORWARD = "forward"
    FORWARD_LOSS = "forward, loss"
    LOSS = "loss"
    """The backward of loss and lm_head."""
    HEAD = "backward, head"
    """DeepSpeed reduces the gradient of an untied lm_head before the last layer's backward."""
    # The word ``block`` stays, because plans and ``estimate --json`` hold these values.
    LAST_LAYER = "backward, last block"
    """The backward of the last layer, and of the layers below it as far as no phase follows."""
    LAST_CHECKPOINT = "backward, last checkpoint"
    """The last checkpointed layer runs again after layers without a checkpoint."""
    FIRST_LAYER = "backward, first block"
    EMBEDDING = "backward, embedding"
    STEP = "step"
    """The optimizer's step, once after all micro-batches."""


OPTIONAL = frozenset({StepPhase.LOAD, StepPhase.HEAD, StepPhase.LAST_CHECKPOINT})
"""Phases that only some configurations have."""


def micro_batch_phases(*, mixed: bool, reduces_head: bool) -> Iterator[StepPhase]:
    """The phases of one micro-batch.

    ``mixed``: only the first layers are checkpointed. ``reduces_head``: the gradient of an untied
    lm_head is reduced by itself.
    """
    yield StepPhase.FORWARD
    yield StepPhase.FORWARD_LOSS
    yield StepPhase.LOSS
    if reduces_head:
        yield StepPhase.HEAD
    yield StepPhase.LAST_LAYER
    if mixed:
        yield StepPhase.LAST_CHECKPOINT
    yield StepPhase.FIRST_LAYER
    yield StepPhase.EMBEDDING


def step_order(*, mixed: bool, reduces_head: bool, micro_batches: int = 1) -> Iterator[StepPhase]:
    """The phases of one optimizer step: those of every micro-batch, then the optimizer's step."""
    for _ in range(micro_batches):
        yield from micro_batch_phases(mixed=mixed, reduces_head=reduces_head)
    yield StepPhase.STEP
