"""What several ranks share: DDP buckets, ZeRO shards, live parameters, offload to the host.

Frozen weights are sharded by stage 3 only; gradients and states are those of trained parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from memory_models.architecture import Architecture
from memory_models.settings import TrainingSettings
from memory_models.units import ceil_div
from memory_models.weights import embedding_parameters, total_parameters

MASTER_BYTES = 4
"""DeepSpeed keeps an fp32 master copy of every trained half-precision parameter."""
HALF_BYTES = 2
MAX_LIVE_PARAMETERS = 1_000_000_000
"""DeepSpeed's default of ``stage3_max_live_parameters``, which our configuration keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStates:
    """Model states of one rank, in bytes, on the device and on the host."""

    weights: int
    trained: int
    """Adapters, and fp32 masters of trained parameters."""
    gradients: int
    states: int
    buffers: int
    """Communication buckets and gathered live parameters."""
    host: int = 0
    """Host bytes of this rank: offloaded parameters and states, pinned."""


def shard(
    architecture: Architecture,
    settings: TrainingSettings,
    whole: ModelStates,
    trained_elements: int,
) -> ModelStates:
    """One rank's part of ``whole`` (an unsharded rank's states).

    DDP adds one bucket copy of all gradients. ZeRO-1 shards states and masters, ZeRO-2 gradients
    too, ZeRO-3 all parameters. Buckets are sized by the hidden size as Hugging Face's "auto" does.
    Offload moves the sharded states, or the sharded parameters, to the host.
    Source: ZeRO (arXiv 1910.02054); torch DDP reducer; transformers integrations/deepspeed.py.
    Ignores: parameters under the persistence threshold, which stay on every rank.
    """
    ranks, stage = settings.world_size, settings.zero_stage
    if stage == 0:
        buckets = whole.gradients if ranks > 1 else 0
        return _replace(whole, buffers=buckets)
    master = MASTER_BYTES * trained_elements
    states = ceil_div(whole.states + master, ranks)
    gradients = whole.gradients if stage < 2 else ceil_div(whole.gradients, ranks)
    weights, trained = whole.weights, whole.trained
    buffers = 2 * HALF_BYTES * architecture.hidden_size**2
    if stage == 3:
        weights = ceil_div(weights, ranks)
        trained = ceil_div(trained, ranks)
        buffers += live_parameter_bytes(architecture)
    host = 0
    if settings.offload_optimizer:
        host, states = host + states, 0
    if settings.offload_param:
        host, weights = host + weights, 0
    return ModelStates(
        weights=weights,
        trained=trained,
        gradients=gradients,
        states=states,
        buffers=buffers,
        host=host,
    )


def live_parameter_bytes(architecture: Architecture) -> int:
    """Bytes of parameters gathered at once under stage 3.

    DeepSpeed releases gathered parameters only above ``stage3_max_live_parameters`` elements, so
    a model below that ends up gathered whole; the embedding is gathered whole in any case.
    Source: DeepSpeed runtime/zero/partitioned_param_coordinator.py.
    """
    live = min(total_parameters(architecture), MAX_LIVE_PARAMETERS)
    return HALF_BYTES * max(embedding_parameters(architecture), live)


def _replace(states: ModelStates, *, buffers: int) -> ModelStates:
    return ModelStates(
        weights=states.weights,
        trained=states.trained,
        gradients=states.gradients,
        states=states.states,
        buffers=buffers,
    )
