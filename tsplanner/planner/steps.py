"""Number of optimizer steps of a run, which depends on the rounding of its trainer. Pure."""

from __future__ import annotations

from enum import StrEnum

from memory_models.units import ceil_div


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


def samples_per_second(rows: int, epochs: int, seconds: float) -> float:
    """Rows x epochs over the run's time, which transformers logs as ``train_samples_per_second``.

    Source: ``speed_metrics`` of transformers' trainer_utils with ``num_samples`` = ``num_examples``
    x epochs. Rows that the rounding leaves out are counted as well.
    """
    return rows * epochs / seconds
