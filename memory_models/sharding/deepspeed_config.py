"""Sizes in DeepSpeed's configuration; the exporter and the estimate share them."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.states.weights import layer_parameters

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


def live_elements(architecture: Architecture) -> int:
    """Elements of ``stage3_max_live_parameters`` and ``stage3_max_reuse_distance``.

    A recomputed layer uses its parameters again within the elements of two layers, so DeepSpeed
    gathers no parameter twice in a row. DeepSpeed's default of a billion gathers every smaller
    model whole.
    """
    return LIVE_LAYERS * layer_parameters(architecture)


def reduce_bucket_elements(architecture: Architecture) -> int:
    """Elements of ``reduce_bucket_size`` that transformers fills in for "auto"."""
    return architecture.hidden_size**2


def prefetch_elements(architecture: Architecture) -> int:
    """Elements of ``stage3_prefetch_bucket_size`` that transformers fills in for "auto"."""
    return int(PREFETCH_SHARE * architecture.hidden_size**2)


def persistent_elements(architecture: Architecture) -> int:
    """Elements of the largest tensor that stays whole on every process ("auto" in transformers)."""
    return PERSISTENCE_FACTOR * architecture.hidden_size
