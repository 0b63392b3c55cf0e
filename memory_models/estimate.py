"""The memory estimate: persistent bytes plus the largest phase of a step, never their sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.frozen.layer_major import host_input_bytes
from memory_models.allocator.replay import reserved_bytes
from memory_models.architecture import Architecture
from memory_models.bounds.intervals import (
    allocated_interval,
    reserved_interval,
    with_unplaced_logits,
)
from memory_models.bounds.process import (
    by_generation,
    major_of,
    non_torch_interval,
    process_interval,
)
from memory_models.calibration import DEFAULT, Calibration
from memory_models.checks import check_device, check_settings
from memory_models.device import Device
from memory_models.result import Component, Interval, MemoryEstimate
from memory_models.settings import (
    Quantization,
    StateSettings,
    TrainingSettings,
    effective_settings,
)
from memory_models.sharding.states import ModelStates, model_states
from memory_models.states.adapters import check_targets, trainable_parameters
from memory_models.states.chatts_remote_code import as_released
from memory_models.states.weights import total_parameters
from memory_models.step_order import OPTIONAL
from memory_models.step_phases import PhasePeak, load, phase_peaks
from memory_models.units import MIB

MEASURED_PROCESSES = 2
"""Most processes of the runs behind the calibration."""
HOST_SPREAD_DIVISOR = 10
"""One tenth: the worst measured run missed its host bytes by 9.8 % (docs/memory-model.md)."""

MOST_BYTES = 1 << 50
"""A PiB: no process holds as much, so a setting that needs it is a slip of the pen."""

__all__ = ["Component", "Interval", "MemoryEstimate", "check", "estimate_memory"]


def check(
    architecture: Architecture, settings: TrainingSettings, device: Device | None = None
) -> None:
    """Refuse settings that cannot run.

    Raises:
        ValueError: names the field, its value and the limit.
    """
    check_settings(architecture, settings)
    # This call is for its refusals; the record is cached, so the estimate makes no second one.
    _static(architecture, effective_settings(settings).states)
    if device is not None:
        check_device(settings, device)


def estimate_memory(
    architecture: Architecture,
    settings: TrainingSettings,
    device: Device | None = None,
    calibration: Calibration = DEFAULT,
    *,
    replay: bool = False,
    of_process: int | None = None,
) -> MemoryEstimate:
    """Bytes of one training step at steady state, per process (host bytes: per machine).

    Without ``device`` the estimate is for a GPU of the measured generation. ``replay``: reserved
    bytes come from a replay of the step through the allocator (some 20 ms); otherwise a measured
    share of the peak stands for fragmentation (0.1 ms). ``of_process``: which process of a machine
    the bytes are of where processes stream unlike numbers of layers; None: that with the most.

    Raises:
        ValueError: the configuration cannot run (see ``check``).
    """
    check(architecture, settings, device)
    together, major = effective_settings(settings), major_of(device)
    settings = together.of_process(of_process)
    static = _static(architecture, settings.states)
    states = static.states
    workspace = by_generation(calibration.device.workspace_bytes, major)
    persistent = states.device + workspace
    phases = (*phase_peaks(architecture, settings), static.load)
    peak = _peak(phases)
    estimated = persistent + peak.bytes
    allocated = allocated_interval(
        estimated, peak.bytes, settings, calibration, unrecomputed=peak.unrecomputed
    )
    # Forward's thread and backward's thread have a cuBLAS workspace each; the second one settles in
    # the middle of backward, so the replay places each by itself.
    # The replay knows micro-batches one after the other alone, and no gathers but DeepSpeed's.
    replay = replay and not (settings.streaming.streams or settings.sharding.shards_base)
    replayed = reserved_bytes(architecture, settings, workspace // 2) if replay else None
    reserved = reserved_interval(
        estimated, peak.bytes, settings, calibration, replayed, unrecomputed=peak.unrecomputed
    )
    if replay:
        margin = calibration.margins.unplaced_logits
        reserved = with_unplaced_logits(reserved, architecture, settings, margin)
    non_torch = non_torch_interval(
        settings, major, calibration, head_dim=architecture.attention.head_dim
    )
    process = process_interval(reserved, non_torch, states.paged, major, calibration)
    shared = states if settings is together else _static(architecture, together.states).states
    host = _host(shared, together, calibration, host_input_bytes(architecture, settings))
    if max(process.upper, host.upper) >= MOST_BYTES:
        raise ValueError("these settings need over 1 PiB: look for a number that is too large")
    return MemoryEstimate(
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        process_bytes=process,
        host_bytes=host,
        parameters_total=static.parameters_total,
        parameters_trainable=static.parameters_trainable,
        components=_components(states, peak, workspace, process, non_torch.expected),
        peak_instant=peak.phase.value,
        assumptions=(
            *_assumptions(device, calibration),
            *static.assumptions,
            *_unlike_processes(together, settings),
            *_length_assumptions(architecture, settings.sequence_length),
        ),
    )


def _peak(phases: Sequence[PhasePeak]) -> PhasePeak:
    """The largest phase; of equal phases, the first one that every configuration has."""
    peak, largest = phases[0], phases[0].bytes
    for found in phases[1:]:
        size = found.bytes
        # If one layer alone is checkpointed, it is both the last checkpoint and the first layer.
        if size > largest or (size == largest and peak.phase in OPTIONAL):
            peak, largest = found, size
    return peak


class _Static(NamedTuple):
    """Facts of one process that depend on neither lengths nor batches."""

    states: ModelStates
    load: PhasePeak
    parameters_total: int
    parameters_trainable: int
    assumptions: tuple[str, ...]


@lru_cache(maxsize=4096)
def _static(architecture: Architecture, settings: StateSettings) -> _Static:
    """The record of these settings.

    Raises:
        ValueError: the settings cannot run at any length.
    """
    check_targets(architecture, settings.method)
    states = model_states(architecture, settings)
    return _Static(
        states=states,
        load=load(architecture, settings, states.states + states.buffers),
        parameters_total=total_parameters(architecture),
        parameters_trainable=trainable_parameters(architecture, settings.method),
        assumptions=tuple(_recipe_assumptions(architecture, settings, states.paged)),
    )


def _host(
    states: ModelStates, settings: TrainingSettings, calibration: Calibration, inputs: int
) -> Interval:
    """Resident host bytes of all processes of one machine: runtimes and offloaded states.

    ``inputs``: bytes of the layer inputs that one process keeps on the host.
    """
    processes = settings.sharding.processes_per_node
    runtime = calibration.host.host_runtime_bytes
    expected = processes * (
        runtime
        + calibration.host.host_distributed_bytes[settings.sharding.kind]
        + states.host
        + inputs
    )
    # What is streamed is counted to the byte, unlike what DeepSpeed pins.
    uncertain = 0 if settings.streaming.streams else states.host // HOST_SPREAD_DIVISOR
    spread = calibration.host.host_runtime_spread_bytes + uncertain
    return Interval(expected=expected, upper=expected + processes * spread)


def _components(
    states: ModelStates, peak: PhasePeak, workspace: int, process: Interval, non_torch_bytes: int
) -> tuple[Component, ...]:
    """Parts of the process's bytes at the peak; they add up to ``process.expected``."""
    parts = [
        ("base weights", states.weights),
        ("adapters", states.trained),
        ("optimizer states", states.states),
        ("gradients", peak.gradients),
        ("gathered parameters", peak.gathered),
        ("kept activations", peak.checkpoints),
        # The word ``block`` stays, because written plans hold these names.
        ("block in work", peak.layer),
        ("head and loss", peak.loss),
        ("optimizer step", peak.step),
        ("communication buffers", states.buffers),
        ("cuBLAS workspace", workspace),
        ("context and libraries", non_torch_bytes),
    ]
    rest = process.expected - sum(size for _, size in parts)
    parts.append(("fragmentation", rest))
    return tuple(Component(name=name, bytes=size) for name, size in parts if size)


def _assumptions(device: Device | None, calibration: Calibration) -> Iterator[str]:
    """Sentences about the machine that the figures are for."""
    yield "every sequence at full length"
    yield calibration.provenance
    yield from calibration.notes
    if device is None:
        yield "no device named: process bytes as on an H200"
    elif device.compute_capability[0] not in calibration.device.measured_generations:
        yield f"process overhead and fragmentation not measured on {device.name}"


def _length_assumptions(architecture: Architecture, length: int) -> Iterator[str]:
    """A sentence on rows that are longer than the model was published for."""
    published = architecture.positions.published_positions
    if length > published:
        yield f"{length} positions are more than the {published} that the model was published for"


def _unlike_processes(together: TrainingSettings, own: TrainingSettings) -> Iterator[str]:
    """A sentence on processes that stream unlike numbers of layers."""
    if together.streaming.differs:
        yield (
            f"the processes of a machine stream {together.streaming.shown} layers: these bytes are "
            f"of one that streams {own.streaming.shown}; run on CPUs alone, on no unlike GPUs"
        )


def _unmeasured(settings: StateSettings) -> Iterator[str]:
    """Sentences about forms of the base whose bytes were measured on little or no hardware."""
    if settings.base.quantization is Quantization.INT8:
        yield "int8: outlier columns not counted"
    if settings.base.quantization is Quantization.W8A8:
        yield "w8a8: bytes held against a trace, not measured on a GPU"
    if settings.streaming.streams:
        yield "streamed layers: bytes by formula and trace, measured on one H200"
    if settings.sharding.shards_base and settings.sharding.fsdp_whole_model:
        yield "fsdp of a whole model, as accelerate's: bytes by formula, not measured on a GPU"
    elif settings.sharding.shards_base and settings.method.trains_everything:
        yield "fsdp of a model that is trained whole: bytes by formula, not measured on a GPU"
    elif settings.sharding.shards_base:
        yield "fsdp: bytes by formula, measured on two H200s"
    if settings.sharding.zero_stage == 3 and settings.base.has_4bit:
        yield "4-bit weights under ZeRO-3: bytes by formula, not measured on a GPU yet"


def _recipe_assumptions(
    architecture: Architecture, settings: StateSettings, paged: int
) -> Iterator[str]:
    """Sentences about the recipe that the figures are for."""
    processes = settings.sharding.world_size
    if processes > MEASURED_PROCESSES:
        yield f"{processes} processes: bytes outside the allocator measured on up to two"
    if settings.sharding.nodes > 1:
        yield f"{settings.sharding.nodes} machines: never run"
    if architecture.mlp.num_experts_per_tok:
        yield "mixture of experts: tokens spread evenly; not measured"
    yield from _unmeasured(settings)
    if paged:
        yield f"{paged // MIB} MiB of paged optimizer states may move to the host"
    released = as_released(architecture).positions.rotary_buffer_count
    if released and not architecture.positions.rotary_buffer_count:
        yield (
            "our own ChatTS code; the released remote code adds "
            f"{2 * released // MIB} MiB of rotary caches"
        )
