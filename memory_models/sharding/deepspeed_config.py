"""Sizes in DeepSpeed's configuration; the exporter and the estimate share them.

``config`` is a user's own configuration; None: the one that tsplanner writes.
"""

from __future__ import annotations

from typing import NamedTuple

from memory_models.architecture import Architecture
from memory_models.settings import DeepSpeedConfig, Quantization, Sharding
from memory_models.states.weights import (
    is_quantized,
    kept_in,
    layer_parameters,
    packed_bytes,
)

LIVE_LAYERS = 2
"""Layers whose parameters ZeRO-3 may gather: the running one and the prefetched one."""
SUB_GROUP_ELEMENTS = 100_000_000
"""Elements of a partition that ZeRO-3 steps at once (``sub_group_size``).

The step takes 6 bytes per element (a flat half-precision gradient and an fp32 one), so DeepSpeed's
default of a billion takes 6 GB. A hundred launches instead of ten cost milliseconds.
"""
PREFETCH_SHARE = 0.9
"""transformers sets ``stage3_prefetch_bucket_size`` to this share of D x D."""
PERSISTENCE_FACTOR = 10
"""transformers sets ``stage3_param_persistence_threshold`` to this multiple of D."""


class Limits(NamedTuple):
    """What ZeRO-3 may gather, in elements."""

    live: int
    """``stage3_max_live_parameters``: gathered at once."""
    reuse: int
    """``stage3_max_reuse_distance``: a parameter that is used again within so many stays."""
    prefetch: int
    """``stage3_prefetch_bucket_size``: gathered ahead of their use."""
    persistent: int
    """``stage3_param_persistence_threshold``: tensors of so many elements are never sharded."""


def limits(
    architecture: Architecture,
    config: DeepSpeedConfig | None = None,
    quantization: Quantization | None = None,
) -> Limits:
    """The limits of ZeRO-3's gathers."""
    live = live_elements(architecture, quantization)
    return Limits(
        live=live if config is None else config.stage3_max_live_parameters,
        reuse=live if config is None else config.stage3_max_reuse_distance,
        prefetch=prefetch_elements(architecture, config),
        persistent=persistent_elements(architecture, config),
    )


def layer_elements(architecture: Architecture, quantization: Quantization | None = None) -> int:
    """Elements of one layer's parameters as DeepSpeed counts them: a packed byte is one element."""
    packed = sum(
        (linear.copies_in(architecture) - kept_in(linear, architecture))
        * (linear.weight_count - packed_bytes(linear, quantization))
        for linear in architecture.layer.linears
        if is_quantized(linear, quantization)
    )
    return layer_parameters(architecture) - packed // architecture.num_hidden_layers


def live_elements(architecture: Architecture, quantization: Quantization | None = None) -> int:
    """Elements of tsplanner's ``stage3_max_live_parameters`` and ``stage3_max_reuse_distance``.

    A recomputed layer uses its parameters again within the elements of two layers, so DeepSpeed
    gathers no parameter twice in a row. DeepSpeed's default of a billion gathers every smaller
    model whole.
    """
    return LIVE_LAYERS * layer_elements(architecture, quantization)


def sub_group_elements(config: DeepSpeedConfig | None = None) -> int:
    """Elements of ``sub_group_size``."""
    return SUB_GROUP_ELEMENTS if config is None else config.sub_group_size


def reduce_bucket_elements(
    architecture: Architecture, config: DeepSpeedConfig | None = None
) -> int:
    """Elements of ``reduce_bucket_size``; transformers fills in D x D for "auto"."""
    given = None if config is None else config.reduce_bucket_size
    return architecture.hidden_size**2 if given is None else given


class Buckets(NamedTuple):
    """Elements of the buckets that gradients are reduced in."""

    one: int
    held: int
    """Of all buckets that exist at once: ZeRO-1 and 2 hold two where communication overlaps.

    Source: deepspeed runtime/zero/stage_1_and_2.py (``backward``: ``overlap_comm`` takes a second
    buffer).
    """


def buckets(architecture: Architecture, sharding: Sharding) -> Buckets:
    """The buckets of these settings."""
    config = sharding.deepspeed
    one = reduce_bucket_elements(architecture, config)
    overlaps = config is not None and config.overlap_comm and sharding.zero_stage < 3
    return Buckets(one=one, held=(1 + overlaps) * one)


def prefetch_elements(architecture: Architecture, config: DeepSpeedConfig | None = None) -> int:
    """Elements of ``stage3_prefetch_bucket_size``; transformers fills in 0.9 D x D for "auto"."""
    given = None if config is None else config.stage3_prefetch_bucket_size
    return int(PREFETCH_SHARE * architecture.hidden_size**2) if given is None else given


def persistent_elements(architecture: Architecture, config: DeepSpeedConfig | None = None) -> int:
    """Elements of the largest tensor that stays whole on every process (10 D for "auto")."""
    given = None if config is None else config.stage3_param_persistence_threshold
    return PERSISTENCE_FACTOR * architecture.hidden_size if given is None else given
