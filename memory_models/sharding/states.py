"""Bytes that stay on one process from step to step: alone, under DDP, and under ZeRO.

Sources: ZeRO (arXiv 1910.02054); torch DDP reducer.cpp; deepspeed 0.19 runtime/zero/
stage_1_and_2.py, stage3.py, partition_parameters.py. Bytes that a step allocates and frees are
in gradients.py, held_gradients.py and all_gather.py; bytes on the host are in offload.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from memory_models.architecture import Architecture
from memory_models.frozen import frozen
from memory_models.rounding import block_bytes
from memory_models.settings import Quantization, StateSettings
from memory_models.sharding.deepspeed_config import persistent_elements, reduce_bucket_elements
from memory_models.sharding.fully_sharded import other_slices_bytes, own_part, wraps_all
from memory_models.sharding.held_gradients import MASTER_BYTES
from memory_models.sharding.offload import built_bytes, host_bytes
from memory_models.sharding.partition import partition_of
from memory_models.states.compiled_groups import copy_bytes
from memory_models.states.optimizer import (
    PAGED,
    STATE_BYTES,
    Tensor,
    gradient_bytes,
    optimizer_state_bytes,
    paged_state_bytes,
    trained_bytes,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.states.storage import BYTES, nf4_bytes
from memory_models.states.streamed import device_bytes, slab_bytes
from memory_models.states.weights import (
    base_tensors,
    base_weight_bytes,
    is_quantized,
    kept_in,
    norm_parameters_per_layer,
    packed_bytes,
    quantized_linears,
)
from memory_models.units import MIB, ceil_div

DDP_BUCKET_BYTES = 25 * MIB
"""Bytes of one gradient bucket of DDP (the first bucket, of 1 MiB, is ignored)."""


@frozen
class ModelStates:
    """Bytes of the model states of one process, on the device and on the host."""

    weights: int
    """The base model."""
    trained: int
    """The adapters."""
    states: int
    """Optimizer states, and fp32 masters of trained parameters."""
    buffers: int
    """Communication buckets, flat gradients, and persistent parameters (whole on every process)."""
    host: int = 0
    """Offloaded parameters and states of this process, on the host."""
    paged: int = 0
    """Optimizer states in managed memory."""

    @property
    def device(self) -> int:
        """Bytes of all model states on the device."""
        return self.weights + self.trained + self.states + self.buffers


def model_states(architecture: Architecture, settings: StateSettings) -> ModelStates:
    """Bytes that one process holds; takes what ``effective_settings`` returns."""
    if settings.sharding.zero_stage == 0:
        return _unsharded(architecture, settings)
    if settings.sharding.zero_stage == 3:
        return _all_sharded(architecture, settings)
    return _states_sharded(architecture, settings)


def _unsharded(architecture: Architecture, settings: StateSettings) -> ModelStates:
    """Every process holds all states; the buckets of DDP hold a second copy of all gradients.

    Where FSDP2 wraps the whole model each holds a part of them, and there is no DDP.
    """
    buckets = 0
    # torch's DDP copies gradients into its buckets (gradient_as_bucket_view is off in the Trainer).
    if settings.sharding.world_size > 1 and not wraps_all(settings):
        whole, rest = divmod(gradient_bytes(architecture, settings), DDP_BUCKET_BYTES)
        buckets = whole * block_bytes(DDP_BUCKET_BYTES) + block_bytes(rest)
    return ModelStates(
        weights=base_weight_bytes(architecture, settings)
        + device_bytes(architecture, settings)
        - other_slices_bytes(architecture, settings),
        trained=own_part(settings, trained_bytes(architecture, settings))
        + _copies(architecture, settings)
        if settings.method.uses_adapter
        else 0,
        states=own_part(settings, optimizer_state_bytes(architecture, settings)),
        buffers=buckets,
        host=slab_bytes(architecture, settings) + built_bytes(architecture, settings),
        paged=own_part(settings, paged_state_bytes(architecture, settings)),
    )


def _states_sharded(architecture: Architecture, settings: StateSettings) -> ModelStates:
    """Stages 1 and 2: trained parameters are flat and whole; masters and states are partitioned.

    With optimizer offload, gradients pass through a buffer of the largest gradient's size.
    """
    partition, element = partition_of(architecture, settings), trained_element_bytes(settings)
    offloads = settings.sharding.offload_optimizer
    return ModelStates(
        weights=base_weight_bytes(architecture, settings),
        trained=block_bytes(element * partition.total) + _copies(architecture, settings)
        if settings.method.uses_adapter
        else 0,
        states=0 if offloads else _state_bytes(settings, partition.shares),
        buffers=block_bytes(element * partition.largest) if offloads else 0,
        host=host_bytes(architecture, settings),
        paged=0 if offloads else _paged_bytes(settings, partition.shares),
    )


def _all_sharded(architecture: Architecture, settings: StateSettings) -> ModelStates:
    """Stage 3: every parameter is partitioned, frozen ones one by one, trained ones flat.

    The bucket and the flat gradients of this process's partition exist from the start. Persistent
    parameters (small ones) stay gathered. A process alone holds no second copy of them, unless its
    parameters are offloaded.
    """
    partition, element = partition_of(architecture, settings), trained_element_bytes(settings)
    offloads = settings.sharding.offload_optimizer
    offloads_parameters = settings.sharding.offload_param
    # A single process on the device uses its partitions as the parameters themselves.
    gathers = settings.sharding.world_size > 1 or offloads_parameters
    # Rotary caches are buffers and no parameters, so ZeRO-3 leaves them whole on every process.
    rotary = architecture.positions.rotary_buffer_count * BYTES[settings.base.model_dtype]
    flat = block_bytes(element * partition.share)
    frozen = not settings.method.trains_everything
    base = base_partition_bytes(architecture, settings) if frozen else flat
    return ModelStates(
        weights=rotary + (constants_bytes(architecture, settings) if offloads_parameters else base),
        trained=flat if settings.method.uses_adapter and not offloads_parameters else 0,
        states=0 if offloads else _state_bytes(settings, partition.shares),
        buffers=block_bytes(
            element * reduce_bucket_elements(architecture, settings.sharding.deepspeed)
        )
        + (0 if offloads else flat)
        + (persistent_parameter_bytes(architecture, settings) if gathers else 0),
        host=host_bytes(architecture, settings, lambda: base_partitions(architecture, settings)),
        paged=0 if offloads else _paged_bytes(settings, partition.shares),
    )


def _copies(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the adapters' copies that compiled kernels read."""
    return copy_bytes(architecture, settings.method, settings.base, settings.decoder_kernels)


def _state_bytes(settings: StateSettings, shares: tuple[int, ...]) -> int:
    """Bytes of the fp32 masters of flat shares, and of the optimizer's states for them."""
    state_bytes, paged = STATE_BYTES[settings.optimizer], settings.optimizer in PAGED
    return sum(
        block_bytes(MASTER_BYTES * share)
        + state_bytes(Tensor(rows=1, columns=share), MASTER_BYTES, paged=paged)
        for share in shares
    )


def _paged_bytes(settings: StateSettings, shares: tuple[int, ...]) -> int:
    """Bytes of the optimizer's states for flat shares in managed memory."""
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
    """Bytes of one process's partition of every base parameter, and the parameter's copies."""
    element, world_size = BYTES[settings.base.model_dtype], settings.sharding.world_size
    for elements, copies in base_tensors(architecture):
        yield element * ceil_div(elements, world_size), copies
    for linear, copies in quantized_linears(architecture):
        if is_quantized(linear, settings.base.quantization):
            yield ceil_div(packed_bytes(linear, settings.base.quantization), world_size), copies
        else:
            yield element * ceil_div(linear.weight_count, world_size), copies


def base_partition_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of one process's partitions of the base model on the device."""
    parts = base_partitions(architecture, settings)
    return sum(copies * block_bytes(size) for size, copies in parts) + constants_bytes(
        architecture, settings
    )


def constants_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the constants of 4-bit matrices.

    The constants are not parameters, so ZeRO-3 leaves them whole on every process.
    """
    if settings.base.quantization not in (Quantization.NF4, Quantization.NF4_DQ):
        return 0
    double = settings.base.quantization is Quantization.NF4_DQ
    return sum(
        (linear.copies_in(architecture) - kept_in(linear, architecture))
        * (nf4_bytes(linear.weight_count, double=double) - linear.weight_count // 2)
        for linear in architecture.layer.linears
        if is_quantized(linear, settings.base.quantization)
    )


def persistent_parameter_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the parameters that stay whole: norms, biases, short sides of adapters."""
    element = BYTES[settings.base.model_dtype]
    limit = persistent_elements(architecture, settings.sharding.deepspeed)
    layers = architecture.num_hidden_layers
    found = layers * norm_parameters_per_layer(architecture)
    for linear in architecture.layer.linears:
        copies = linear.copies_in(architecture)
        found += copies * (linear.bias_count if linear.bias_count <= limit else 0)
    for each in (*architecture.layer.tensors, *architecture.outside.tensors):
        found += each.copies * (each.elements if each.elements <= limit else 0)
    if settings.method.uses_adapter:
        for tensor in trained_tensors(architecture, settings.method):
            found += tensor.copies * (tensor.elements if tensor.elements <= limit else 0)
    return element * found
