"""Bounds of allocated and reserved bytes.

Margins come from measured residuals, by recipe class; see ``Calibration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from memory_models.architecture import Architecture
from memory_models.calibration import Calibration, Margin
from memory_models.result import Interval
from memory_models.rounding import LARGE_STEP
from memory_models.settings import DecoderKernels, Dtype, LossKernel, TrainingSettings
from memory_models.units import round_up

HALF_BYTES = 2
PERSISTENT_SHARE = 0.1
"""Weight of persistent bytes in ``margin_scale``; 0.05 to 0.2 give bounds of the same width."""


class RecipeClass(Protocol):
    """Gives the class of a configuration; ``checkpointed`` overrides the configuration's own."""

    def __call__(self, settings: TrainingSettings, *, checkpointed: bool | None = None) -> str:
        """The key in a table of margins."""


def recipe_class(settings: TrainingSettings, *, checkpointed: bool | None = None) -> str:
    """The class whose residuals bound this recipe.

    The class names what is trained, the storage of the base, whether activations are kept, and the
    loss kernel, because the freed logits of the plain loss leave holes that no other tensor fits.
    Growing segments leave few holes, so these recipes need fewer classes. The class of several
    processes names only what is trained.
    """
    if settings.kernels.expandable_segments or settings.sharding.zero_stage == 3:
        return replay_class(settings, checkpointed=checkpointed)
    method = "adapter" if settings.method.uses_adapter else "weights"
    if settings.sharding.kind != "alone":
        return f"sharded-{method}"
    base = "quantized" if settings.base.quantization else "plain"
    kept = _activations(settings, checkpointed)
    loss = LossKernel.FUSED if settings.kernels.loss_kernel.in_chunks else LossKernel.PLAIN
    return f"{method}-{base}-{kept}-{loss}"


def replay_class(settings: TrainingSettings, *, checkpointed: bool | None = None) -> str:
    """The class whose residuals bound a replay: what is trained, and whether activations are kept.

    The replay models the other differences itself, so fewer and larger classes give a narrower
    bound. ZeRO-3 is a class of its own, because gathered parameters are allocated between
    activations. Several processes with growing segments are a class too, measured in few runs.
    """
    segments = "expandable-" if settings.kernels.expandable_segments else ""
    if settings.sharding.zero_stage == 3:
        return f"{segments}gathered"
    if segments and settings.sharding.kind != "alone":
        return "expandable-sharded"
    if settings.batch.is_packed:
        # Passes of many lengths follow each other, of which the replay knows the longest.
        return f"{segments}packed-{_activations(settings, checkpointed)}"
    method = "adapter" if settings.method.uses_adapter else "weights"
    return f"{segments}{method}-{_activations(settings, checkpointed)}"


def _activations(settings: TrainingSettings, checkpointed: bool | None) -> str:
    """The word for kept or checkpointed activations; ``checkpointed`` overrides the settings."""
    found = settings.batch.gradient_checkpointing if checkpointed is None else checkpointed
    return "checkpointed" if found else "kept"


def margin_scale(estimated: int, dynamic: int) -> float:
    """Bytes that margins are shares of; ``dynamic``: the part of the peak that is not persistent.

    Most holes come from tensors that are freed and allocated in a step; a few come from the packing
    of persistent tensors.
    """
    return dynamic + PERSISTENT_SHARE * estimated


class Scale(NamedTuple):
    """Bytes that margins are shares of."""

    usual: float
    """Bytes whose margin is that of the recipe's own class."""
    unrecomputed: float = 0.0
    """Bytes kept by layers without a checkpoint, if other layers have one: their margin is that of
    kept activations."""


def _scale(estimated: int, dynamic: int, unrecomputed: int) -> Scale:
    return Scale(margin_scale(estimated, dynamic) - unrecomputed, unrecomputed)


def allocated_interval(
    estimated: int,
    dynamic: int,
    settings: TrainingSettings,
    calibration: Calibration,
    *,
    unrecomputed: int = 0,
) -> Interval:
    """Peak of allocated bytes; ``dynamic``: the part of ``estimated`` that is not persistent.

    ``unrecomputed``: the share of ``dynamic`` that layers without a checkpoint keep, if other
    layers have one.
    """
    scale = _scale(estimated, dynamic, unrecomputed)
    return _interval(
        estimated, scale, _margins(calibration.margins.allocated, recipe_class, settings)
    )


def reserved_interval(
    estimated: int,
    dynamic: int,
    settings: TrainingSettings,
    calibration: Calibration,
    replayed: int | None = None,
    *,
    unrecomputed: int = 0,
) -> Interval:
    """Peak of reserved bytes in whole segments.

    The expected value is ``replayed``, or ``estimated`` plus a measured share if nothing was
    replayed. ``unrecomputed``: see ``allocated_interval``.
    """
    scale = _scale(estimated, dynamic, unrecomputed)
    if replayed is None:
        usual = _margins(calibration.margins.reserved, recipe_class, settings)
        found = _interval(estimated, scale, usual)
    else:
        found = _interval(
            replayed, scale, _margins(calibration.margins.replayed, replay_class, settings)
        )
    return Interval(
        # The allocator never reserves less than is allocated, whatever a replay or a margin says.
        expected=round_up(max(estimated, found.expected), LARGE_STEP),
        upper=round_up(max(estimated, found.upper), LARGE_STEP),
    )


def _margins(
    table: Mapping[str, Margin],
    class_of: RecipeClass,
    settings: TrainingSettings,
) -> tuple[Margin, Margin]:
    """The margin of the recipe, and that of the recipe's layers without a checkpoint."""
    usual = _margin(table, class_of(settings))
    if settings.batch.checkpointed_layers is None:
        return usual, usual
    return usual, _margin(table, class_of(settings, checkpointed=False))


def _margin(table: Mapping[str, Margin], name: str) -> Margin:
    return table.get(name) or table["default"]


def _interval(base: int, scale: Scale, margins: tuple[Margin, Margin]) -> Interval:
    usual, kept = margins
    return Interval(
        expected=base + round(usual.expected * scale.usual + kept.expected * scale.unrecomputed),
        upper=base
        + round(usual.upper * scale.usual + kept.upper * scale.unrecomputed)
        + usual.floor_bytes,
    )


def with_unplaced_logits(
    reserved: Interval, architecture: Architecture, settings: TrainingSettings, margin: Margin
) -> Interval:
    """``reserved`` of a replay with the copy of the logits that finds no hole in it.

    It was seen on reference kernels alone: fused ones leave larger holes than the replay places.
    """
    kernels = settings.kernels
    if (
        not kernels.expandable_segments
        or kernels.loss_kernel.in_chunks
        or kernels.decoder_kernels is not DecoderKernels.REFERENCE
        or settings.base.model_dtype is Dtype.FP32
    ):
        return reserved
    logits = HALF_BYTES * settings.tokens * architecture.vocabulary.vocab_size
    return Interval(
        expected=round_up(reserved.expected + round(margin.expected * logits), LARGE_STEP),
        upper=round_up(reserved.upper + round(margin.upper * logits), LARGE_STEP),
    )
