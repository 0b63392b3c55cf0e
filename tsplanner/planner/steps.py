"""Optimizer steps of a run, by the rounding of the trainer that runs it. Pure."""

from __future__ import annotations

from enum import StrEnum

from memory_models.units import ceil_div


class Rounding(StrEnum):
    """What a trainer does with the micro-batches that are left at the end of an epoch."""

    FLOOR = "floor"
    """They make no step of their own."""
    CEIL = "ceil"
    """They make a last, smaller step. Our own trainer's way: it is transformers 5's."""


def rounding_of(transformers: str) -> Rounding:
    """The rounding of transformers' Trainer by its version, as ``4.51.3``.

    Source: ``Trainer._inner_training_loop`` and ``set_initial_training_values`` of the wheels
    4.48.3 to 4.51.3 (floor) and 4.52.4 to 4.57.3 (ceil). The change came with 4.52, of which 4.52.0
    to 4.52.3 were not looked at.
    Raises ValueError: no version.
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
    """Optimizer steps of one pass over ``rows``, at least one.

    A rank sees ceil(ceil(rows / micro-batch) / ranks) micro-batches: accelerate deals whole
    micro-batches out and fills the last round up. Divided by the accumulation, that is rounded by
    ``rounding``.
    Source: transformers' Trainer, see `rounding_of`; accelerate's BatchSamplerShard.
    """
    micro_batches = ceil_div(ceil_div(rows, micro_batch_size), world_size)
    if rounding is Rounding.CEIL:
        return max(1, ceil_div(micro_batches, gradient_accumulation_steps))
    return max(1, micro_batches // gradient_accumulation_steps)


def samples_per_second(rows: int, epochs: int, seconds: float) -> float:
    """What transformers logs as ``train_samples_per_second``: rows x epochs over the run's time.

    Source: ``speed_metrics`` of transformers' trainer_utils with ``num_samples`` = ``num_examples``
    x epochs. Rows that the rounding leaves out count, too.
    """
    return rows * epochs / seconds
