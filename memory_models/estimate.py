"""The memory estimate: persistent bytes plus the maximum over instants, never the sum of all."""

from __future__ import annotations

from collections.abc import Mapping

from memory_models.adapters import (
    PARAMETER_BYTES,
    check_targets,
    trainable_parameters,
)
from memory_models.allocator import allocated_interval, reserved_interval
from memory_models.architecture import Architecture
from memory_models.calibration import DEFAULT, Calibration
from memory_models.device import Device
from memory_models.instants import Instant, instants
from memory_models.model_states import (
    gradient_bytes,
    optimizer_state_bytes,
    paged_state_bytes,
)
from memory_models.records import Component, Interval, MemoryEstimate
from memory_models.settings import Attention, Dtype, Quantization, TrainingSettings
from memory_models.units import MIB
from memory_models.weights import base_weight_bytes, total_parameters
from memory_models.zero import ModelStates, shard

__all__ = ["Component", "Interval", "MemoryEstimate", "check", "estimate_memory"]

_DEFAULT_MAJOR = 9
"""Generation assumed where no device is named: the one that was measured."""


def check(
    architecture: Architecture, settings: TrainingSettings, device: Device | None = None
) -> None:
    """Refuse what cannot run.

    Raises:
        ValueError: with the field, its value and the limit.
    """
    if settings.sequence_length > architecture.max_position_embeddings:
        raise ValueError(
            f"sequence_length {settings.sequence_length} is above the model's "
            f"max_position_embeddings {architecture.max_position_embeddings}"
        )
    check_targets(architecture, settings)
    trainable_parameters(architecture, settings)
    if settings.attention is Attention.FLASH_ATTENTION_2 and _compute_dtype(settings) is Dtype.FP32:
        raise ValueError("flash_attention_2 needs fp16 or bf16: set autocast or model_dtype")
    if settings.autocast is Dtype.FP32:
        raise ValueError("autocast must be bf16, fp16 or null, not fp32")
    if device is not None:
        _check_device(settings, device)


def _compute_dtype(settings: TrainingSettings) -> Dtype:
    return settings.autocast or settings.model_dtype


def _check_device(settings: TrainingSettings, device: Device) -> None:
    major, minor = device.compute_capability
    if Dtype.BF16 in (settings.autocast, settings.model_dtype) and not device.has_bf16:
        raise ValueError(
            f"bf16 needs compute capability 8.0; {device.name} has {major}.{minor}: use fp16"
        )
    if settings.attention is Attention.FLASH_ATTENTION_2 and device.compute_capability < (8, 0):
        raise ValueError(
            f"flash_attention_2 needs compute capability 8.0; {device.name} has "
            f"{major}.{minor}: use sdpa"
        )


def estimate_memory(
    architecture: Architecture,
    settings: TrainingSettings,
    device: Device | None = None,
    calibration: Calibration = DEFAULT,
) -> MemoryEstimate:
    """Bytes of one training step at steady state, per rank (host bytes: per machine).

    Without ``device``: a GPU of the generation that was measured.

    Raises:
        ValueError: the configuration cannot run (see ``check``).
    """
    check(architecture, settings, device)
    major = device.compute_capability[0] if device else _DEFAULT_MAJOR
    states = _rank_states(architecture, settings)
    workspace = _by_generation(calibration.workspace_bytes, major)
    persistent = states.weights + states.trained + states.states + states.buffers + workspace
    peak = max(instants(architecture, settings, states.gradients), key=lambda found: found.bytes)
    estimated = persistent + peak.bytes
    allocated = allocated_interval(estimated, peak.bytes, settings, calibration)
    reserved = reserved_interval(estimated, peak.bytes, settings, calibration)
    context = _by_generation(calibration.context_bytes, major)
    communicates = settings.world_size > 1 or settings.zero_stage > 0
    context += calibration.nccl_bytes if communicates else 0
    paged = paged_state_bytes(architecture, settings)
    process = _process(reserved, context, paged, major, calibration)
    return MemoryEstimate(
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        process_bytes=process,
        host_bytes=_host(states, settings, calibration),
        parameters_total=total_parameters(architecture),
        parameters_trainable=trainable_parameters(architecture, settings),
        components=_components(states, peak, workspace, process, context),
        peak_instant=peak.name,
        assumptions=_assumptions(architecture, settings, device, calibration),
    )


def _rank_states(architecture: Architecture, settings: TrainingSettings) -> ModelStates:
    """Model states of one rank."""
    trained = trainable_parameters(architecture, settings)
    whole = ModelStates(
        weights=base_weight_bytes(architecture, settings),
        trained=PARAMETER_BYTES * trained if settings.uses_adapter else 0,
        gradients=gradient_bytes(architecture, settings),
        states=optimizer_state_bytes(architecture, settings),
        buffers=0,
    )
    return shard(architecture, settings, whole, trained)


def _by_generation(table: Mapping[int, int], major: int) -> int:
    """The entry of a compute capability's major number, or of the nearest one below it."""
    known = [key for key in table if key <= major] or [min(table)]
    return table[max(known)]


def _process(
    reserved: Interval, outside: int, paged: int, major: int, calibration: Calibration
) -> Interval:
    """What the driver sees: reserved bytes, context and libraries.

    It charges no managed memory to the process, but that may lie on the device: the bound has it.
    """
    widening = 1.0 if major in calibration.measured_generations else calibration.unmeasured_widening
    factor = calibration.device_factor
    return Interval(
        expected=round((reserved.expected + outside) * factor),
        upper=round(
            (reserved.upper + outside + paged + calibration.context_spread_bytes)
            * widening
            * factor
        ),
    )


def _host(states: ModelStates, settings: TrainingSettings, calibration: Calibration) -> Interval:
    """Resident host bytes of all ranks of one machine: runtime and what is offloaded."""
    expected = settings.world_size * (calibration.host_runtime_bytes + states.host)
    return Interval(
        expected=expected,
        upper=expected
        + settings.world_size * (calibration.host_runtime_spread_bytes + states.host // 10),
    )


def _components(
    states: ModelStates, peak: Instant, workspace: int, process: Interval, outside: int
) -> tuple[Component, ...]:
    """Parts of the process's bytes at the peak; they add up to ``process.expected``."""
    parts = [
        ("base weights", states.weights),
        ("adapters", states.trained),
        ("optimizer states", states.states),
        ("gradients", peak.gradients),
        ("kept activations", peak.checkpoints),
        ("block in work", peak.block),
        ("head and loss", peak.loss),
        ("optimizer step", peak.step),
        ("communication buffers", states.buffers),
        ("cuBLAS workspace", workspace),
        ("context and libraries", outside),
    ]
    rest = process.expected - sum(size for _, size in parts)
    parts.append(("fragmentation", rest))
    return tuple(Component(name=name, bytes=size) for name, size in parts if size)


def _assumptions(
    architecture: Architecture,
    settings: TrainingSettings,
    device: Device | None,
    calibration: Calibration,
) -> tuple[str, ...]:
    """What the reader should know that the figures rest on."""
    found = ["every sequence at full length", calibration.provenance, *calibration.notes]
    if device is None:
        found.append("no device named: process bytes as on an H200")
    elif device.compute_capability[0] not in calibration.measured_generations:
        found.append(f"process overhead and fragmentation not measured on {device.name}")
    if settings.world_size > 1 or settings.zero_stage:
        found.append("several ranks, ZeRO and offload: by formula, not measured yet")
    if architecture.num_experts_per_tok:
        found.append("mixture of experts: tokens spread evenly; not measured")
    if settings.quantization is Quantization.INT8:
        found.append("int8: outlier columns not counted")
    paged = paged_state_bytes(architecture, settings)
    if paged:
        found.append(f"{paged // MIB} MiB of paged optimizer states may move to the host")
    if architecture.model_type == "chatts":
        found.append(
            "our own ChatTS code; the released remote code adds "
            f"{_released_rotary_bytes(architecture) // MIB} MiB of rotary caches"
        )
    return tuple(found)


def _released_rotary_bytes(architecture: Architecture) -> int:
    """Half-precision cosine and sine caches that every layer of the released ChatTS-14B owns."""
    per_layer = 2 * architecture.max_position_embeddings * architecture.head_dim
    return 2 * architecture.num_hidden_layers * per_layer
