"""What a figure depends on, as settings with all else left out: the keys of the caches."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from operator import attrgetter

from memory_models.settings import TrainingSettings

_LENGTHS = frozenset({"sequence_length", "micro_batch_size", "gradient_accumulation_steps"})
_RANKS = frozenset({"world_size", "zero_stage", "offload_optimizer", "offload_param"})
_ALL = tuple(found.name for found in fields(TrainingSettings))
_STANDING = tuple(name for name in _ALL if name not in _LENGTHS)
_RECIPE = tuple(name for name in _STANDING if name not in _RANKS | {"optimizer"})
_standing_values, _recipe_values = attrgetter(*_STANDING), attrgetter(*_RECIPE)


def standing_of(settings: TrainingSettings) -> TrainingSettings:
    """What model states depend on: lengths and batches left at 1, accumulation at 1 or 2."""
    accumulates = settings.gradient_accumulation_steps > 1
    return _built(_STANDING, _standing_values(settings), accumulates)


def recipe_of(settings: TrainingSettings) -> TrainingSettings:
    """What programs depend on: optimizer and ranks are left out as well."""
    accumulates = settings.gradient_accumulation_steps > 1
    return _built(_RECIPE, _recipe_values(settings), accumulates)


@lru_cache(maxsize=65_536)
def _built(
    names: tuple[str, ...], values: tuple[object, ...], accumulates: bool
) -> TrainingSettings:
    """Settings of these values; building them anew each time would cost more than the estimate."""
    steps = 2 if accumulates else 1
    given = dict(zip(names, values, strict=True))
    return TrainingSettings(
        sequence_length=1,
        micro_batch_size=1,
        gradient_accumulation_steps=steps,
        **given,  # type: ignore[arg-type]
    )
