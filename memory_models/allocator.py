"""From tensors to what the allocator reserves and the driver sees, with bounds.

Margins come from measured residuals by recipe class; see ``Calibration``.
"""

from __future__ import annotations

from collections.abc import Mapping

from memory_models.caching_allocator import (
    BLOCK_BYTES,
    LARGE_REMAINDER,
    LARGE_REQUEST,
    LARGE_SEGMENT,
    LARGE_STEP,
    SMALL_REQUEST,
)
from memory_models.calibration import Calibration, Margin
from memory_models.records import Interval
from memory_models.settings import TrainingSettings
from memory_models.units import round_up

PERSISTENT_SHARE = 0.1
"""Weight of persistent bytes in ``margin_scale``; 0.05 to 0.2 give bounds of the same width."""


def block_bytes(request: int) -> int:
    """Bytes that count as allocated for one of many equal requests.

    A segment of its own is rounded up to 2 MiB; of a shared one the last block gets the rest. The
    rest is split off, and so not counted, if it is over 1 MiB.
    Ignores: which cached block a request is served from later.
    """
    if request <= SMALL_REQUEST:
        return request + -request % BLOCK_BYTES
    if request >= LARGE_REQUEST:
        rest = -request % LARGE_STEP
        return request + (rest if rest <= LARGE_REMAINDER else -request % BLOCK_BYTES)
    blocks = LARGE_SEGMENT // request
    rest = LARGE_SEGMENT - blocks * request
    return request + (rest // blocks if rest <= LARGE_REMAINDER else -request % BLOCK_BYTES)


def recipe_class(settings: TrainingSettings) -> str:
    """The class whose residuals bound this recipe.

    What is trained, on what base, whether activations are kept, and by which loss kernel: freed
    logits of the plain loss are the holes that nothing else fits into. Segments that grow leave
    few holes, so there fewer classes do. Several ranks: by what is trained.
    """
    if settings.expandable_segments or settings.zero_stage == 3:
        return replay_class(settings)
    method = "adapter" if settings.uses_adapter else "weights"
    if settings.sharding != "alone":
        return f"sharded-{method}"
    base = "quantized" if settings.quantization else "plain"
    kept = "checkpointed" if settings.gradient_checkpointing else "kept"
    return f"{method}-{base}-{kept}-{settings.loss_kernel}"


def replay_class(settings: TrainingSettings) -> str:
    """The class whose residuals bound a replay: what is trained, and whether activations are kept.

    The replay sees the rest itself, so fewer and larger classes give the narrower bound. ZeRO-3,
    whose gathered parameters come and go in between, is a class of its own.
    """
    if settings.zero_stage == 3:
        return "gathered"
    method = "adapter" if settings.uses_adapter else "weights"
    segments = "expandable-" if settings.expandable_segments else ""
    return f"{segments}{method}-{'checkpointed' if settings.gradient_checkpointing else 'kept'}"


def margin_scale(estimated: int, dynamic: int) -> float:
    """Bytes that margins are shares of; ``dynamic``: the part of the peak that is not persistent.

    Holes come from what moves, and to a small part from how what stays was packed.
    """
    return dynamic + PERSISTENT_SHARE * estimated


def allocated_interval(
    estimated: int, dynamic: int, settings: TrainingSettings, calibration: Calibration
) -> Interval:
    """Peak of allocated bytes; ``dynamic``: the part of ``estimated`` that is not persistent."""
    found = _margin(calibration.allocated, recipe_class(settings))
    return _interval(estimated, margin_scale(estimated, dynamic), found)


def reserved_interval(
    estimated: int,
    dynamic: int,
    settings: TrainingSettings,
    calibration: Calibration,
    replayed: int | None = None,
) -> Interval:
    """Peak of reserved bytes in whole segments: as ``replayed``, or tensors and a usual share."""
    scale = margin_scale(estimated, dynamic)
    if replayed is None:
        usual = _margin(calibration.reserved, recipe_class(settings))
        found = _interval(estimated, scale, usual)
    else:
        found = _interval(replayed, scale, _margin(calibration.replayed, replay_class(settings)))
    return Interval(
        expected=round_up(max(estimated, found.expected), LARGE_STEP),
        upper=round_up(max(estimated, found.upper), LARGE_STEP),
    )


def _margin(table: Mapping[str, Margin], name: str) -> Margin:
    return table.get(name) or table["default"]


def _interval(base: int, scale: float, found: Margin) -> Interval:
    return Interval(
        expected=base + round(found.expected * scale),
        upper=base + round(found.upper * scale) + found.floor_bytes,
    )
