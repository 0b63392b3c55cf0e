"""What the search knows of trials, in plain numbers: the help of a verb needs no NumPy."""

from __future__ import annotations

from memory_models.frozen import frozen


@frozen
class SurrogatePrior:
    """What sweeps of other models say before the first trial."""

    offset_mean: float
    """Mean of the decimal logarithm of the best rate over the suggested one."""
    offset_spread: float
    scale_median: float
    """Rise of the held-out loss one decade below the best rate, nats per token."""
    scale_spread: float
    """Standard deviation of the natural logarithm of the scale."""
    lean_median: float
    """How many times steeper the side of the higher rates is."""
    lean_spread: float
    rank_mean: float
    """Loss that one halving of the rank costs, as a share of the scale."""
    rank_spread: float


@frozen
class Point:
    """A point of the search space."""

    log10_lr_offset: float
    """Decimal logarithm of the learning rate over the suggested one."""
    log2_rank_offset: float = 0.0
    """Binary logarithm of the LoRA rank over the largest one: 0 or less."""


@frozen
class Observation:
    """The result of one trial."""

    point: Point
    loss: float
    """Held-out loss, nats per token."""
    error: float = 0.0
    """Standard deviation of what is not the trial's own noise, as of a trial that was pruned."""
