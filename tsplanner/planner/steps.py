"""Optimizer steps of a run, and those after which it evaluates and saves. Pure.

Their number depends on the rounding of the run's trainer.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil

from memory_models.units import ceil_div
from tsplanner.planner.settings import LearningSettings


class Rounding(StrEnum):
    """What a trainer does with the micro-batches that are left at the end of an epoch."""

    FLOOR = "floor"
    """The micro-batches that are left make no step."""
    CEIL = "ceil"
    """The micro-batches that are left make a last, smaller step, as in transformers 5 and here."""


def rounding_of(transformers: str) -> Rounding:
    """The rounding of transformers' Trainer by its version, as ``4.51.3``.

    Source: ``Trainer._inner_training_loop`` and ``set_initial_training_values`` of the wheels
    4.48.3 to 4.51.3 (floor) and 4.52.4 to 4.57.3 (ceil). The change came with 4.52; the wheels
    4.52.0 to 4.52.3 were not read.

    Raises:
        ValueError: the text is not a version.
    """
    major, minor = (int(part) for part in transformers.split(".")[:2])
    return Rounding.CEIL if (major, minor) >= (4, 52) else Rounding.FLOOR


def steps_per_epoch(
    rows: int,
    *,
    micro_batch_size: int,
    world_size: int,
    gradient_accumulation_steps: int,
    rounding: Rounding = Rounding.CEIL,
) -> int:
    """Number of optimizer steps of one pass over ``rows``, at least one.

    A process sees ceil(ceil(rows / micro-batch) / world size) micro-batches: accelerate deals out
    whole micro-batches and fills up the last round. Their number divided by the accumulation is
    rounded by ``rounding``.
    Source: transformers' Trainer, see `rounding_of`; accelerate's BatchSamplerShard.
    """
    micro_batches = ceil_div(ceil_div(rows, micro_batch_size), world_size)
    if rounding is Rounding.CEIL:
        return max(1, ceil_div(micro_batches, gradient_accumulation_steps))
    return max(1, micro_batches // gradient_accumulation_steps)


def total_steps(learning: LearningSettings, per_epoch: int) -> int:
    """Steps of the whole run, of which an epoch has ``per_epoch``.

    Part of an epoch is rounded up to whole steps.
    Source: ``set_initial_training_values`` of transformers' Trainer.
    """
    wanted = learning.cadence.max_steps
    return ceil(learning.optimization.num_train_epochs * per_epoch) if wanted is None else wanted


def epochs_of(learning: LearningSettings, per_epoch: int) -> float:
    """Passes over the rows of the whole run."""
    if learning.cadence.max_steps is None:
        return learning.optimization.num_train_epochs
    whole, left = divmod(learning.cadence.max_steps, per_epoch)
    return whole + left / per_epoch if left else whole


def warmup_steps(learning: LearningSettings, total: int) -> int:
    """Steps of ``total`` in which the learning rate rises."""
    given = learning.optimization.warmup_steps
    return ceil(learning.optimization.warmup_ratio * total) if given is None else given


def eval_steps(total: int, per_epoch: int, evals_per_epoch: int) -> frozenset[int]:
    """Steps after which to evaluate: evenly spread, and always the end of an epoch and the last."""
    wanted = {
        min(total, epoch * per_epoch + round(part * per_epoch / evals_per_epoch))
        for epoch in range(ceil_div(total, per_epoch))
        for part in range(1, evals_per_epoch + 1)
    }
    return frozenset(step for step in wanted if step > 0)


def every(steps: int, total: int) -> frozenset[int]:
    """Every so many steps of ``total``, and the last one."""
    return frozenset({*range(steps, total, steps), total})


def evaluations(learning: LearningSettings, per_epoch: int) -> int:
    """Evaluations of a full run after the one before its first step."""
    return ceil_div(total_steps(learning, per_epoch), learning.cadence.eval_steps or per_epoch)


def checkpoints(learning: LearningSettings, per_epoch: int) -> int:
    """Checkpoints that a full run writes."""
    return ceil_div(total_steps(learning, per_epoch), learning.cadence.save_steps or per_epoch)


def samples_per_second(rows: int, epochs: float, seconds: float) -> float:
    """Rows x epochs over the run's time, which transformers logs as ``train_samples_per_second``.

    Source: ``speed_metrics`` of transformers' trainer_utils with ``num_samples`` = ``num_examples``
    x epochs. Rows that the rounding leaves out are counted as well.
    """
    return rows * epochs / seconds
