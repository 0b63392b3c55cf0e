"""From tensors to what the allocator reserves and the driver sees, with bounds.

Margins come from measured residuals by recipe class; see ``Calibration``.
"""

from __future__ import annotations

from collections.abc import Mapping

from memory_models.calibration import Calibration, Margin
from memory_models.records import Interval
from memory_models.settings import TrainingSettings
from memory_models.units import MIB, round_up

SEGMENT_BYTES = 2 * MIB
"""Large segments are multiples of this. Source: kRoundLarge, CUDACachingAllocator.cpp."""


LARGE_BYTES = 10 * MIB
"""Requests from here on get a segment of their own. Source: kMinLargeAlloc."""
SHARED_BYTES = 20 * MIB
"""Segment that requests from 1 MiB up to ``LARGE_BYTES`` share. Source: kLargeBuffer."""
SMALL_BYTES = MIB
"""A rest of at most this is not split off a large block, which keeps it. Source: kSmallSize."""
LEAST_BYTES = 512
"""Requests are rounded up to this. Source: kMinBlockSize."""


def block_bytes(request: int) -> int:
    """Bytes that count as allocated for one of many equal requests.

    A segment of its own is rounded up to 2 MiB; of a shared one the last block gets the rest. The
    rest is split off, and so not counted, if it is over 1 MiB.
    Ignores: which cached block a request is served from later.
    """
    if request <= SMALL_BYTES:
        return request + -request % LEAST_BYTES
    if request >= LARGE_BYTES:
        rest = -request % SEGMENT_BYTES
        return request + (rest if rest <= SMALL_BYTES else -request % LEAST_BYTES)
    blocks = SHARED_BYTES // request
    rest = SHARED_BYTES - blocks * request
    return request + (rest // blocks if rest <= SMALL_BYTES else -request % LEAST_BYTES)


def recipe_class(settings: TrainingSettings) -> str:
    """The class whose residuals bound this recipe.

    What is trained, on what base, whether activations are kept, and by which loss kernel: freed
    logits of the plain loss are the holes that nothing else fits into.
    """
    if settings.zero_stage or settings.world_size > 1:
        return "sharded"
    method = "adapter" if settings.uses_adapter else "weights"
    base = "quantized" if settings.quantization else "plain"
    kept = "checkpointed" if settings.gradient_checkpointing else "kept"
    return f"{method}-{base}-{kept}-{settings.loss_kernel}"


def margin(table: Mapping[str, Margin], settings: TrainingSettings) -> Margin:
    """The margin of the recipe's class, or the default one."""
    return table.get(recipe_class(settings)) or table["default"]


def allocated_interval(
    estimated: int, dynamic: int, settings: TrainingSettings, calibration: Calibration
) -> Interval:
    """Peak of allocated bytes; ``dynamic``: the part of ``estimated`` that is not persistent."""
    return _interval(estimated, dynamic, margin(calibration.allocated, settings))


def reserved_interval(
    estimated: int, dynamic: int, settings: TrainingSettings, calibration: Calibration
) -> Interval:
    """Peak of reserved bytes: tensors and fragmentation, in whole segments."""
    found = _interval(estimated, dynamic, margin(calibration.reserved, settings))
    return Interval(
        expected=round_up(found.expected, SEGMENT_BYTES),
        upper=round_up(found.upper, SEGMENT_BYTES),
    )


def _interval(estimated: int, dynamic: int, found: Margin) -> Interval:
    return Interval(
        expected=estimated + round(found.expected * dynamic),
        upper=estimated + round(found.upper * dynamic),
    )
