"""What a figure depends on, as settings with all else left out: the keys of the caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter

from memory_models.settings import TrainingSettings

Reducer = Callable[[TrainingSettings], TrainingSettings]


def _reducer(names: tuple[str, ...]) -> Reducer:
    """A function that leaves the other settings out, with one result for all that are alike.

    Lengths and batches are left at 1, accumulation at 1 or 2. Results are found by the values of
    ``names``: building settings anew each time would cost more than the estimate.
    """
    values = attrgetter(*names)

    @lru_cache(maxsize=16_384)
    def built(accumulates: bool, given: tuple[object, ...]) -> TrainingSettings:
        return TrainingSettings(
            sequence_length=1,
            micro_batch_size=1,
            gradient_accumulation_steps=2 if accumulates else 1,
            **dict(zip(names, given, strict=True)),  # type: ignore[arg-type]
        )

    def reduced(settings: TrainingSettings) -> TrainingSettings:
        return built(settings.gradient_accumulation_steps > 1, values(settings))

    return reduced


_LENGTHS = frozenset({"sequence_length", "micro_batch_size", "gradient_accumulation_steps"})
_RANKS = frozenset({"world_size", "zero_stage", "offload_optimizer", "offload_param"})
_STANDING = tuple(item.name for item in fields(TrainingSettings) if item.name not in _LENGTHS)
_RECIPE = tuple(name for name in _STANDING if name not in _RANKS | {"optimizer"})
_TAIL = ("finetuning_type", "model_dtype", "autocast", "quantization", "loss_kernel")

standing_of: Reducer = _reducer(_STANDING)
"""What model states depend on: all but lengths and batches."""
recipe_of: Reducer = _reducer(_RECIPE)
"""What the programs of blocks depend on: optimizer and ranks are left out as well."""
tail_recipe_of: Reducer = _reducer(_TAIL)
"""What the program of head and loss depends on."""
