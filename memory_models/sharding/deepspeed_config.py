"""Sizes that DeepSpeed is given, shared by the configuration that is written and the estimate."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.states.weights import layer_parameters

LIVE_LAYERS = 2
"""Blocks whose parameters ZeRO-3 may have gathered: the one at work and the one fetched ahead."""
SUB_GROUP_ELEMENTS = 100_000_000
"""Elements of a shard that ZeRO-3 steps at once (``sub_group_size``).

The step takes 6 bytes for each (a flat half-precision and an fp32 gradient); DeepSpeed's default, a
billion, takes 6 GB. A hundred launches instead of ten cost milliseconds.
"""


def live_elements(architecture: Architecture) -> int:
    """Elements of ``stage3_max_live_parameters`` and ``stage3_max_reuse_distance``.

    A block recomputed for backward meets its parameters again within two blocks' elements, so
    nothing is gathered twice in a row. DeepSpeed's default, a billion of each, gathers models of up
    to that size whole.
    """
    return LIVE_LAYERS * layer_parameters(architecture)


def reduce_bucket_elements(architecture: Architecture) -> int:
    """Elements of ``reduce_bucket_size`` as transformers fills in "auto"."""
    return architecture.hidden_size**2


def prefetch_elements(architecture: Architecture) -> int:
    """Elements of ``stage3_prefetch_bucket_size`` as transformers fills in "auto"."""
    return int(0.9 * architecture.hidden_size**2)


def persistent_elements(architecture: Architecture) -> int:
    """Largest tensor that stays whole on every rank, as transformers fills in "auto"."""
    return 10 * architecture.hidden_size
