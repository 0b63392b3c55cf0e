"""The DeepSpeed configuration that a plan with ZeRO assumes, for its reader."""

from __future__ import annotations

from collections.abc import Iterator

from memory_models.architecture import Architecture
from memory_models.settings import Quantization, Sharding
from memory_models.sharding.deepspeed_config import buckets, limits, sub_group_elements


def deepspeed_sizes(
    architecture: Architecture, sharding: Sharding, quantization: Quantization | None = None
) -> dict[str, int | bool]:
    """The sizes that memory was counted by, in elements, under DeepSpeed's names; empty: no ZeRO.

    There is no ``allgather_bucket_size``: DeepSpeed gathers in place, so it takes no memory.
    """
    if not sharding.zero_stage:
        return {}
    own = sharding.deepspeed
    found: dict[str, int | bool] = {
        "reduce_bucket_size": buckets(architecture, sharding).one,
        "overlap_comm": own.overlap_comm if own is not None else False,
    }
    if sharding.zero_stage == 3:
        allowed = limits(architecture, own, quantization)
        found |= {
            "sub_group_size": sub_group_elements(own),
            "stage3_max_live_parameters": allowed.live,
            "stage3_max_reuse_distance": allowed.reuse,
            "stage3_prefetch_bucket_size": allowed.prefetch,
            "stage3_param_persistence_threshold": allowed.persistent,
        }
    return found


def deepspeed_notes(
    architecture: Architecture, sharding: Sharding, quantization: Quantization | None = None
) -> Iterator[str]:
    """A line with the sizes, and one for everything in a user's own file that is not sized."""
    sizes = deepspeed_sizes(architecture, sharding, quantization)
    if not sizes:
        return
    words = " · ".join(
        f"{name} {'on' if value else 'off'}" if isinstance(value, bool) else f"{name} {value:,}"
        for name, value in sizes.items()
    )
    whose = "your own file" if sharding.deepspeed else "tsplanner export deepspeed writes it"
    yield f"DeepSpeed ({whose}): {words}"
    if sharding.deepspeed is not None:
        yield from (f"DeepSpeed: {warning}" for warning in sharding.deepspeed.warnings)
