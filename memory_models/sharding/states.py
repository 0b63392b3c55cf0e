"""What stays on a rank from step to step: alone, under DDP, and under ZeRO.

Sources: ZeRO (arXiv 1910.02054); torch DDP reducer.cpp; deepspeed 0.19 runtime/zero/
stage_1_and_2.py, stage3.py, partition_parameters.py. What comes and goes within a step stands in
gradients.py and gathered.py, what lies on the host in host_states.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import Quantization, StateSettings
from memory_models.sharding.deepspeed_config import persistent_elements, reduce_bucket_elements
from memory_models.sharding.held_gradients import MASTER_BYTES
from memory_models.sharding.offload import host_bytes
from memory_models.sharding.partition import partition_of
from memory_models.states.adapters import trainable_parameters
from memory_models.states.optimizer import (
    PAGED,
    STATE_BYTES,
    Tensor,
    gradient_bytes,
    optimizer_state_bytes,
    paged_state_bytes,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.states.storage import BYTES, nf4_bytes
from memory_models.states.weights import (
    base_tensors,
    base_weight_bytes,
    is_quantized,
    norm_parameters_per_layer,
    packed_bytes,
)
from memory_models.units import MIB, ceil_div

DDP_BUCKET_BYTES = 25 * MIB
"""DDP's buckets (the first, of 1 MiB, aside)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStates:
    """Model states of one rank, in bytes, on the device and on the host."""

    weights: int
    trained: int
    """Adapters."""
    states: int
    """Optimizer states, and fp32 masters of trained parameters."""
    buffers: int
    """Communication buckets, flat gradients, small parameters that are whole on every rank."""
    host: int = 0
    """Host bytes of this rank: offloaded parameters and states."""
    paged: int = 0
    """Bytes of optimizer states in managed memory."""

    @property
    def device(self) -> int:
        """All that stays on the device."""
        return self.weights + self.trained + self.states + self.buffers


def model_states(architecture: Architecture, settings: StateSettings) -> ModelStates:
    """What one rank holds; ``settings``: those of ``effective_settings``."""
    if settings.sharding.zero_stage == 0:
        return _unsharded(architecture, settings)
    if settings.sharding.zero_stage == 3:
        return _all_sharded(architecture, settings)
    return _states_sharded(architecture, settings)


def _unsharded(architecture: Architecture, settings: StateSettings) -> ModelStates:
    """Everything on every rank; DDP has all gradients once more in its buckets."""
    element, trained = (
        trained_element_bytes(settings),
        trainable_parameters(architecture, settings.method),
    )
    buckets = 0
    if settings.sharding.world_size > 1:
        whole, rest = divmod(gradient_bytes(architecture, settings), DDP_BUCKET_BYTES)
        buckets = whole * block_bytes(DDP_BUCKET_BYTES) + block_bytes(rest)
    return ModelStates(
        weights=base_weight_bytes(architecture, settings),
        trained=element * trained if settings.method.uses_adapter else 0,
        states=optimizer_state_bytes(architecture, settings),
        buffers=buckets,
        paged=paged_state_bytes(architecture, settings),
    )


def _states_sharded(architecture: Architecture, settings: StateSettings) -> ModelStates:
    """Stages 1 and 2: trained parameters flat and whole, their masters and states in parts.

    With optimizer offload a gradient passes through a buffer of the largest one's size.
    """
    partition, element = partition_of(architecture, settings), trained_element_bytes(settings)
    offloads = settings.sharding.offload_optimizer
    return ModelStates(
        weights=base_weight_bytes(architecture, settings),
        trained=block_bytes(element * partition.total) if settings.method.uses_adapter else 0,
        states=0 if offloads else _state_bytes(settings, partition.shares),
        buffers=block_bytes(element * partition.largest) if offloads else 0,
        host=host_bytes(architecture, settings),
        paged=0 if offloads else _paged_bytes(settings, partition.shares),
    )


def _all_sharded(architecture: Architecture, settings: StateSettings) -> ModelStates:
    """Stage 3: every parameter in parts, frozen ones one by one, trained ones flat.

    A bucket and the flat gradients of this rank's part are there from the start. Small parameters
    stay gathered. One rank alone has no copy of them but where parameters are on the host.
    """
    partition, element = partition_of(architecture, settings), trained_element_bytes(settings)
    offloads, elsewhere = settings.sharding.offload_optimizer, settings.sharding.offload_param
    gathers = settings.sharding.world_size > 1 or elsewhere
    rotary = architecture.positions.rotary_buffer_count * BYTES[settings.base.model_dtype]
    flat = block_bytes(element * partition.share)
    frozen = not settings.method.trains_everything
    base = base_partition_bytes(architecture, settings) if frozen else flat
    return ModelStates(
        weights=rotary + (constants_bytes(architecture, settings) if elsewhere else base),
        trained=flat if settings.method.uses_adapter and not elsewhere else 0,
        states=0 if offloads else _state_bytes(settings, partition.shares),
        buffers=block_bytes(element * reduce_bucket_elements(architecture))
        + (0 if offloads else flat)
        + (persistent_parameter_bytes(architecture, settings) if gathers else 0),
        host=host_bytes(architecture, settings, lambda: base_partitions(architecture, settings)),
        paged=0 if offloads else _paged_bytes(settings, partition.shares),
    )


def _state_bytes(settings: StateSettings, shares: tuple[int, ...]) -> int:
    """fp32 masters of flat shares and the optimizer's states on them."""
    state_bytes, paged = STATE_BYTES[settings.optimizer], settings.optimizer in PAGED
    return sum(
        block_bytes(MASTER_BYTES * share)
        + state_bytes(Tensor(rows=1, columns=share), MASTER_BYTES, paged=paged)
        for share in shares
    )


def _paged_bytes(settings: StateSettings, shares: tuple[int, ...]) -> int:
    """States on flat shares in managed memory."""
    if settings.optimizer not in PAGED:
        return 0
    state_bytes = STATE_BYTES[settings.optimizer]
    flat = [Tensor(rows=1, columns=share) for share in shares]
    return sum(
        state_bytes(tensor, MASTER_BYTES, paged=False)
        - state_bytes(tensor, MASTER_BYTES, paged=True)
        for tensor in flat
    )


def base_partitions(
    architecture: Architecture, settings: StateSettings
) -> Iterator[tuple[int, int]]:
    """Bytes of one rank's part of every base parameter, and its copies."""
    element, ranks = BYTES[settings.base.model_dtype], settings.sharding.world_size
    for elements, copies in base_tensors(architecture):
        yield element * ceil_div(elements, ranks), copies
    linears = [
        (linear, architecture.num_hidden_layers)
        for linear in architecture.layer.linears
        if linear.count == 1
    ]
    if architecture.encoder is not None:
        linears += [(linear, 1) for linear in architecture.encoder.linears]
    for linear, copies in linears:
        if is_quantized(linear, settings.base.quantization):
            yield ceil_div(packed_bytes(linear, settings.base.quantization), ranks), copies
        else:
            yield element * ceil_div(linear.weight_count, ranks), copies


def base_partition_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Device bytes of one rank's parts of the base model."""
    parts = base_partitions(architecture, settings)
    return sum(copies * block_bytes(size) for size, copies in parts) + constants_bytes(
        architecture, settings
    )


def constants_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Constants of 4-bit matrices: no parameters, so they are whole on every rank."""
    if settings.base.quantization not in (Quantization.NF4, Quantization.NF4_DQ):
        return 0
    double = settings.base.quantization is Quantization.NF4_DQ
    return sum(
        architecture.num_hidden_layers
        * (nf4_bytes(linear.weight_count, double=double) - linear.weight_count // 2)
        for linear in architecture.layer.linears
        if linear.count == 1
    )


def persistent_parameter_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Parameters too small to shard: norms, biases, the short sides of adapters."""
    element, limit = BYTES[settings.base.model_dtype], persistent_elements(architecture)
    layers = architecture.num_hidden_layers
    found = layers * norm_parameters_per_layer(architecture)
    for linear in architecture.layer.linears:
        found += layers * (linear.bias_count if linear.bias_count <= limit else 0)
    if settings.method.uses_adapter:
        for tensor in trained_tensors(architecture, settings.method):
            found += tensor.copies * (tensor.elements if tensor.elements <= limit else 0)
    return element * found
