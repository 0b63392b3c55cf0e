"""The search space: adapter rank, learning rate and epochs; nothing else is searched.

Effective batch, dropout, targets and variants stay the plan's: batch size is a first-order
setting that memory must never move, and tuned variants of LoRA end within 1-2 % of each other
(arXiv 2602.09492, 2602.04998).
"""

from __future__ import annotations

import math
from dataclasses import replace

from memory_models.frozen import frozen
from memory_models.settings import changed
from tsplanner.errors import UsageError, named
from tsplanner.planner.advice import RANKS, default_learning_rate, epochs_for
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings

LEARNING_RATE_BELOW, LEARNING_RATE_ABOVE = 5.0, 3.0
"""Factors below and above the suggested rate that the search looks at: the best rate is seldom
further away, and runs diverge above it."""


@frozen
class Space:
    """The settings that a trial may choose from."""

    lora_ranks: tuple[int, ...]
    """LoRA ranks; empty for methods without an adapter."""
    learning_rate: tuple[float, float]
    """Lowest and highest learning rate."""
    epochs: tuple[int | float, ...]
    """Part of an epoch only where a person gave it to plan, and then alone."""

    def __post_init__(self) -> None:
        """Refuse an empty or reversed range."""
        low, high = self.learning_rate
        if not 0 < low <= high < math.inf:
            raise UsageError(f"--learning-rate {low:g}..{high:g} is not a range above 0")
        for flag, values in (("--lora-rank", self.lora_ranks), ("--epochs", self.epochs)):
            alone = flag == "--epochs" and len(values) == 1 and values[0] > 0
            if any(value < 1 for value in values) and not alone:
                raise UsageError(f"{flag} must be whole numbers of at least 1")

    def clamp(self, learning: LearningSettings) -> LearningSettings:
        """The nearest settings inside the space."""
        low, high = self.learning_rate
        ranks = self.lora_ranks or (learning.method.lora_rank,)
        return changed(
            learning,
            lora_rank=min(ranks, key=lambda rank: abs(rank - learning.method.lora_rank)),
            learning_rate=min(high, max(low, learning.optimization.learning_rate)),
            num_train_epochs=min(
                self.epochs, key=lambda epochs: abs(epochs - learning.optimization.num_train_epochs)
            ),
        )


def suggested_learning_rate(plan: Plan) -> float:
    """The learning rate that public evidence suggests for this method and model size."""
    return default_learning_rate(plan.learning.method.finetuning_type, plan.model.parameters_total)


def default_space(plan: Plan, suggested_rate: float) -> Space:
    """The space for this method and number of rows; the plan's own settings are inside it."""
    learning, adapter = plan.learning, plan.learning.method.finetuning_type.uses_adapter
    rates = (suggested_rate, learning.optimization.learning_rate)
    planned = learning.optimization.num_train_epochs
    # Part of an epoch was asked for, and whole ones are no neighbours of it.
    whole = epochs_for(plan.dataset.lengths.rows_kept) if planned == int(planned) else ()
    return Space(
        lora_ranks=tuple(sorted({*RANKS, learning.method.lora_rank})) if adapter else (),
        learning_rate=(min(rates) / LEARNING_RATE_BELOW, LEARNING_RATE_ABOVE * max(rates)),
        epochs=tuple(sorted({*whole, planned})),
    )


GIVEN = ("lora_rank", "learning_rate", "num_train_epochs")
"""Settings that are searched unless a person gave them to plan."""


def kept_as_given(space: Space, learning: LearningSettings) -> Space:
    """The space with each setting fixed that a person gave to plan."""
    given, optimization = learning.given, learning.optimization
    if "lora_rank" in given and space.lora_ranks:
        space = replace(space, lora_ranks=(learning.method.lora_rank,))
    if "learning_rate" in given:
        rate = optimization.learning_rate
        space = replace(space, learning_rate=(rate, rate))
    # A number of steps decides how long a run is, and epochs then change nothing.
    if "num_train_epochs" in given or learning.cadence.max_steps is not None:
        space = replace(space, epochs=(optimization.num_train_epochs,))
    return space


def narrowed(
    space: Space,
    *,
    lora_ranks: str | None = None,
    learning_rate: str | None = None,
    epochs: str | None = None,
) -> Space:
    """The space with the user's own ranges; raises UsageError for text that is not a range."""
    if lora_ranks is not None:
        if not space.lora_ranks:
            raise UsageError("--lora-rank: this method has no adapter, so no rank to search")
        space = replace(space, lora_ranks=whole_numbers(lora_ranks, "--lora-rank"))
    if epochs is not None:
        space = replace(space, epochs=whole_numbers(epochs, "--epochs"))
    if learning_rate is not None:
        space = replace(space, learning_rate=rate_range(learning_rate))
    return space


def whole_numbers(text: str, flag: str) -> tuple[int, ...]:
    """The numbers of a text like ``4,8,16``, ascending; raises UsageError for other text."""
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise UsageError(f"{flag} takes whole numbers like 4,8,16, not {named(text)}") from None


def rate_range(text: str) -> tuple[float, float]:
    """The two ends of a text like ``1e-5..1e-3``; one number fixes the rate.

    Raises UsageError for other text.
    """
    low, dots, high = text.partition("..")
    try:
        return float(low), float(high if dots else low)
    except ValueError:
        raise UsageError(
            f"--learning-rate takes a range like 1e-5..1e-3, not {named(text)}"
        ) from None
