"""What a figure depends on, as settings with all else left out: the keys of the caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from operator import attrgetter

from memory_models.settings import Dtype, TrainingSettings

Reducer = Callable[[TrainingSettings], TrainingSettings]


def as_run(settings: TrainingSettings) -> TrainingSettings:
    """The settings as the training loop has them.

    DeepSpeed casts the model to half precision and runs it without autocast.
    Source: accelerate accelerator.py (``_prepare_deepspeed`` wraps no forward in autocast).
    """
    if settings.zero_stage == 0 or settings.autocast is None:
        return settings
    return _cast(settings, settings.autocast)


@lru_cache(maxsize=4096)
def _cast(settings: TrainingSettings, dtype: Dtype) -> TrainingSettings:
    return replace(settings, model_dtype=dtype, autocast=None)


def _reducer(names: tuple[str, ...], *, whole: bool = False) -> Reducer:
    """A function that leaves the other settings out, with one result for all that are alike.

    Lengths and batches are left at 1, accumulation at 1 or 2. Results are found by the values of
    ``names``: building settings anew each time would cost more than the estimate. ``whole``: with
    the stage of ZeRO; else only whether there is one.
    """
    values = attrgetter(*names)

    @lru_cache(maxsize=16_384)
    def built(accumulates: bool, stage: int, given: tuple[object, ...]) -> TrainingSettings:
        return TrainingSettings(
            sequence_length=1,
            micro_batch_size=1,
            gradient_accumulation_steps=2 if accumulates else 1,
            zero_stage=stage,
            **dict(zip(names, given, strict=True)),  # type: ignore[arg-type]
        )

    def reduced(settings: TrainingSettings) -> TrainingSettings:
        stage = settings.zero_stage
        accumulates = settings.gradient_accumulation_steps > 1
        return built(accumulates, stage, values(settings))

    def program(settings: TrainingSettings) -> TrainingSettings:
        # A gradient that leaves at once is to a program what one added to an earlier one is.
        accumulates = settings.gradient_accumulation_steps > 1 or settings.shards_gradients
        return built(accumulates, min(settings.zero_stage, 1), values(settings))

    return reduced if whole else program


_LENGTHS = frozenset(
    {"sequence_length", "series_patches", "micro_batch_size", "gradient_accumulation_steps"}
)
_RANKS = frozenset({"world_size", "offload_optimizer", "offload_param"})
_LEFT_OUT = _LENGTHS | {"zero_stage", "checkpointed_layers"}
_STANDING = tuple(item.name for item in fields(TrainingSettings) if item.name not in _LEFT_OUT)
_ELSEWHERE = frozenset({"optimizer", "expandable_segments"})
_RECIPE = tuple(name for name in _STANDING if name not in _RANKS | _ELSEWHERE)
_TAIL = (
    "finetuning_type",
    "model_dtype",
    "autocast",
    "quantization",
    "upcast_unquantized",
    "loss_kernel",
    "kernels",
)


@lru_cache(maxsize=4096)
def kept_recipe(recipe: TrainingSettings) -> TrainingSettings:
    """The recipe of the layers that are not checkpointed where the first ones are."""
    return replace(recipe, gradient_checkpointing=False, checkpointed_layers=None)


standing_of: Reducer = _reducer(_STANDING, whole=True)
"""What model states depend on: all but lengths, batches and the number of checkpointed layers."""
recipe_of: Reducer = _reducer(_RECIPE)
"""What the programs of blocks depend on: optimizer and ranks are left out as well."""
tail_recipe_of: Reducer = _reducer(_TAIL)
"""What the program of head and loss depends on."""
