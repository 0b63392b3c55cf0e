"""From tensors to what the allocator reserves and the driver sees, with bounds.

Margins come from measured residuals by recipe class; see ``Calibration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from memory_models.calibration import Calibration, Margin
from memory_models.result import Interval
from memory_models.rounding import LARGE_STEP
from memory_models.settings import TrainingSettings
from memory_models.units import round_up

PERSISTENT_SHARE = 0.1
"""Weight of persistent bytes in ``margin_scale``; 0.05 to 0.2 give bounds of the same width."""


class RecipeClass(Protocol):
    """The class of a configuration whose layers are all checkpointed, or none of them."""

    def __call__(self, settings: TrainingSettings, *, checkpointed: bool | None = None) -> str:
        """Key of a table of margins."""


def recipe_class(settings: TrainingSettings, *, checkpointed: bool | None = None) -> str:
    """The class whose residuals bound this recipe.

    What is trained, on what base, whether activations are kept, and by which loss kernel: freed
    logits of the plain loss are the holes that nothing else fits into. Segments that grow leave
    few holes, so there fewer classes do. Several ranks: by what is trained.
    """
    if settings.kernels.expandable_segments or settings.sharding.zero_stage == 3:
        return replay_class(settings, checkpointed=checkpointed)
    method = "adapter" if settings.method.uses_adapter else "weights"
    if settings.sharding.kind != "alone":
        return f"sharded-{method}"
    base = "quantized" if settings.base.quantization else "plain"
    kept = _activations(settings, checkpointed)
    return f"{method}-{base}-{kept}-{settings.kernels.loss_kernel}"


def replay_class(settings: TrainingSettings, *, checkpointed: bool | None = None) -> str:
    """The class whose residuals bound a replay: what is trained, and whether activations are kept.

    The replay sees the rest itself, so fewer and larger classes give the narrower bound. ZeRO-3,
    whose gathered parameters come and go in between, is a class of its own; so are several ranks
    where segments grow, which few runs had.
    """
    segments = "expandable-" if settings.kernels.expandable_segments else ""
    if settings.sharding.zero_stage == 3:
        return f"{segments}gathered"
    if segments and settings.sharding.kind != "alone":
        return "expandable-sharded"
    method = "adapter" if settings.method.uses_adapter else "weights"
    return f"{segments}{method}-{_activations(settings, checkpointed)}"


def _activations(settings: TrainingSettings, checkpointed: bool | None) -> str:
    """Whether activations are kept; ``checkpointed``: of layers that differ from the settings."""
    found = settings.batch.gradient_checkpointing if checkpointed is None else checkpointed
    return "checkpointed" if found else "kept"


def margin_scale(estimated: int, dynamic: int) -> float:
    """Bytes that margins are shares of; ``dynamic``: the part of the peak that is not persistent.

    Holes come from what moves, and to a small part from how what stays was packed.
    """
    return dynamic + PERSISTENT_SHARE * estimated


class Scale(NamedTuple):
    """Bytes that margins are shares of."""

    usual: float
    """By the class of the recipe."""
    plain: float = 0.0
    """What layers keep that are not checkpointed where others are: by the class of such layers."""


def _scale(estimated: int, dynamic: int, plain: int) -> Scale:
    return Scale(margin_scale(estimated, dynamic) - plain, plain)


def allocated_interval(
    estimated: int,
    dynamic: int,
    settings: TrainingSettings,
    calibration: Calibration,
    *,
    plain: int = 0,
) -> Interval:
    """Peak of allocated bytes; ``dynamic``: the part of ``estimated`` that is not persistent.

    ``plain``: of that, what layers keep that are not checkpointed where others are.
    """
    scale = _scale(estimated, dynamic, plain)
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
    plain: int = 0,
) -> Interval:
    """Peak of reserved bytes in whole segments: as ``replayed``, or tensors and a usual share.

    ``plain``: as for ``allocated_interval``.
    """
    scale = _scale(estimated, dynamic, plain)
    if replayed is None:
        usual = _margins(calibration.margins.reserved, recipe_class, settings)
        found = _interval(estimated, scale, usual)
    else:
        found = _interval(
            replayed, scale, _margins(calibration.margins.replayed, replay_class, settings)
        )
    return Interval(
        expected=round_up(max(estimated, found.expected), LARGE_STEP),
        upper=round_up(max(estimated, found.upper), LARGE_STEP),
    )


def _margins(
    table: Mapping[str, Margin],
    class_of: RecipeClass,
    settings: TrainingSettings,
) -> tuple[Margin, Margin]:
    """The margin of the recipe, and of layers that keep everything in the same."""
    usual = _margin(table, class_of(settings))
    if settings.batch.checkpointed_layers is None:
        return usual, usual
    return usual, _margin(table, class_of(settings, checkpointed=False))


def _margin(table: Mapping[str, Margin], name: str) -> Margin:
    return table.get(name) or table["default"]


def _interval(base: int, scale: Scale, margins: tuple[Margin, Margin]) -> Interval:
    usual, plain = margins
    return Interval(
        expected=base + round(usual.expected * scale.usual + plain.expected * scale.plain),
        upper=base
        + round(usual.upper * scale.usual + plain.upper * scale.plain)
        + usual.floor_bytes,
    )
