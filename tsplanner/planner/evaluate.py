"""One candidate's bytes, seconds and verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memory_models.bounds.cpu import on_cpu
from memory_models.device import Device
from memory_models.estimate import estimate_memory
from memory_models.frozen import frozen
from memory_models.result import Interval, MemoryEstimate
from memory_models.settings import TrainingSettings, changed
from tsplanner.planner.devices import used_machine
from tsplanner.planner.explain.reasons import Explanation, MemoryKind, Reason
from tsplanner.planner.forecast import (
    batch_widths,
    compiling_per_step,
)
from tsplanner.planner.gather.refine import refined_for
from tsplanner.planner.packing import passes_per_step, settings_of_pass, usual_passes
from tsplanner.planner.plan import DatasetRef, Verdict, verdict_of
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import (
    HardwareSettings,
    LearningSettings,
    training_settings,
)
from tsplanner.throughput.rates import Rates, rates_of
from tsplanner.throughput.step_parts import StepTime, times_passes
from tsplanner.throughput.step_time import mean_step_time

HOST_RESERVE_FRACTION = 0.05
"""Share of the host's available memory that a plan leaves alone."""
VERDICTS = tuple(Verdict)
"""Verdicts from the best to the worst."""


@frozen
class Evaluated:
    """A candidate with its memory, its time and the verdict on it."""

    hardware: HardwareSettings
    memory: MemoryEstimate
    time: StepTime
    """One optimizer step of usual padded batches."""
    verdict: Verdict
    free_bytes: int
    """Bytes that are free on the fullest GPU used; on a CPU, bytes of the host that may be used.

    Where processes stream unlike numbers of layers, memory and free bytes are those of the process
    that is closest to what its GPU has.
    """
    explanation: Explanation | None = None
    """Why the plan is tight or does not fit; None: it fits."""
    compiling_seconds: float = 0.0
    """Each step's share of the compiling that this candidate alone waits for."""

    @property
    def samples_per_second(self) -> float:
        """Predicted speed at the unchanged effective batch, over the whole run."""
        return self.hardware.effective_batch_size / (self.time.seconds + self.compiling_seconds)


@frozen
class Shortage:
    """The memory that decides on a candidate."""

    memory: MemoryKind
    needs: Interval
    """Bytes that the candidate needs of it."""
    free_bytes: int
    """Bytes of it that may be used."""

    @property
    def share(self) -> float:
        """What is needed over what is free."""
        return self.needs.expected / max(1, self.free_bytes)


def shortage(request: PlanRequest, found: Evaluated) -> Shortage:
    """The memory that the verdict on a candidate rests on: the scarcer one of GPU and host."""
    process = found.memory.process_bytes
    if request.on_cpu:
        return Shortage(memory=MemoryKind.HOST, needs=process, free_bytes=found.free_bytes)
    return max(
        Shortage(memory=MemoryKind.GPU, needs=process, free_bytes=found.free_bytes),
        Shortage(
            memory=MemoryKind.HOST,
            needs=found.memory.host_bytes,
            free_bytes=host_budget(request),
        ),
        key=lambda lack: (VERDICTS.index(verdict_of(lack.needs, lack.free_bytes)), lack.share),
    )


def lacks_host_memory(found: Evaluated) -> bool:
    """Whether a candidate is tight or does not fit because of the host's memory."""
    # After probes an explanation may be one that names no memory.
    memory = None if found.explanation is None else found.explanation.data.get("memory")
    return memory == MemoryKind.HOST


def evaluate(
    request: PlanRequest, hardware: HardwareSettings, *, replay: bool = False
) -> Evaluated:
    """Estimate a candidate: memory by the longest batch, time by usual padded batches.

    ``replay``: find reserved bytes by replaying the step, which is slower and gives a narrower
    bound (see ``estimate_memory``).

    Raises:
        ValueError: the configuration cannot run at all.
    """
    settings = longest_step(request, hardware)
    tightest = max(_processes(request, hardware, settings, replay=replay), key=_tightness)
    verdict, explanation = _judge(
        request, tightest.memory, tightest.free_bytes, on_cpu=request.on_cpu
    )
    return Evaluated(
        hardware=hardware,
        memory=tightest.memory,
        time=usual_step(request, hardware, settings),
        verdict=verdict,
        free_bytes=tightest.free_bytes,
        explanation=explanation,
        compiling_seconds=compiling_per_step(request.dataset, request.learning, hardware),
    )


@frozen
class ProcessNeeds:
    """What one process of a machine needs, and what its GPU has."""

    process: int
    memory: MemoryEstimate
    free_bytes: int
    """Bytes that are free on its GPU; on a CPU, bytes of the host that may be used."""


def processes(request: PlanRequest, hardware: HardwareSettings) -> list[ProcessNeeds]:
    """Every process of a machine; one that stands for all where all stream as many layers.

    Raises:
        ValueError: the configuration cannot run at all.
    """
    return list(_processes(request, hardware, longest_step(request, hardware)))


def tightest_process(request: PlanRequest, hardware: HardwareSettings) -> int:
    """The process whose memory a plan holds; 0 where one stands for all."""
    return max(processes(request, hardware), key=_tightness).process


def _tightness(found: ProcessNeeds) -> tuple[int, float]:
    needs = found.memory.process_bytes
    verdict = VERDICTS.index(verdict_of(needs, found.free_bytes))
    return verdict, needs.upper / max(1, found.free_bytes)


def _processes(
    request: PlanRequest,
    hardware: HardwareSettings,
    settings: TrainingSettings,
    *,
    replay: bool = False,
) -> Iterator[ProcessNeeds]:
    """``settings``: those of the longest batch."""
    calibration = refined_for(request, hardware).calibration
    devices: list[Device | None] = [None]
    if not request.on_cpu:
        used = used_machine(request.machine, hardware)
        devices = [*used.devices] if hardware.streaming.differs else [used.fullest]
    for place, device in enumerate(devices):
        memory = estimate_memory(
            request.architecture,
            settings,
            device,
            calibration,
            # On a CPU libc takes the place of the caching allocator, so nothing can be replayed.
            replay=replay and device is not None,
            of_process=place,
        )
        if device is None:
            yield ProcessNeeds(
                process=place,
                memory=on_cpu(memory, calibration),
                free_bytes=host_budget(request),
            )
        else:
            yield ProcessNeeds(process=place, memory=memory, free_bytes=device.free_bytes)


def longest_step(request: PlanRequest, hardware: HardwareSettings) -> TrainingSettings:
    """The training settings of the step that a candidate's memory is sized for."""
    reads_series = request.architecture.encoder is not None
    return step_settings(request.learning, hardware, request.dataset, reads_series=reads_series)


def step_settings(
    learning: LearningSettings,
    hardware: HardwareSettings,
    dataset: DatasetRef,
    *,
    reads_series: bool,
) -> TrainingSettings:
    """The settings of the step that memory is sized for: that of the longest batch."""
    longest = dataset.longest_of(hardware.batch)
    patches = dataset.patches_of(hardware.batch) if reads_series else 0
    settings = training_settings(learning, hardware, longest, patches)
    if not hardware.batch.is_packed:
        return settings
    steps = passes_per_step(dataset.lengths, hardware.batch)
    return replace(
        changed(settings, gradient_accumulation_steps=steps),
        # A pass has the most attention scores where the longest rows fill it.
        row_length=min(dataset.lengths.longest, longest),
    )


def usual_step(
    request: PlanRequest, hardware: HardwareSettings, settings: TrainingSettings
) -> StepTime:
    """Time of a step of usual batches; ``settings``: those of the longest batch.

    The step time ignores the encoder's own work, so it needs no number of patches.
    """
    rates = rates_for(request, hardware)
    if hardware.batch.token_budget is not None:
        found = usual_passes(
            request.dataset.lengths,
            hardware.batch.gradient_accumulation_steps,
            hardware.batch.token_budget,
            hardware.sharding.world_size,
        )
        passes = [settings_of_pass(request.learning, hardware, each) for each in found.passes]
        return times_passes(mean_step_time(request.architecture, passes, rates), found.each)
    usual = [
        settings
        if width == settings.sequence_length
        else training_settings(request.learning, hardware, width)
        for width in batch_widths(request.dataset, hardware)
    ]
    return mean_step_time(request.architecture, usual, rates)


def rates_for(request: PlanRequest, hardware: HardwareSettings) -> Rates:
    """The rates of the slowest GPU used, as earlier probes of these settings correct them."""
    machine = used_machine(request.machine, hardware)
    efficiency = refined_for(request, hardware).efficiency
    return rates_of(machine, efficiency, on_cpu=request.on_cpu)


def host_budget(request: PlanRequest) -> int:
    """Bytes of the host's memory that a plan may take."""
    return int(request.machine.host.available_bytes * (1 - HOST_RESERVE_FRACTION))


def _judge(
    request: PlanRequest, memory: MemoryEstimate, free: int, *, on_cpu: bool
) -> tuple[Verdict, Explanation | None]:
    """The verdict by the memory of the device and, under a GPU, by that of the host as well."""
    device = verdict_of(memory.process_bytes, free)
    if on_cpu:
        return device, _why(device, MemoryKind.HOST)
    host = verdict_of(memory.host_bytes, host_budget(request))
    if VERDICTS.index(host) > VERDICTS.index(device):
        return host, _why(host, MemoryKind.HOST)
    return device, _why(device, MemoryKind.GPU)


def _why(verdict: Verdict, memory: MemoryKind) -> Explanation | None:
    if verdict is Verdict.FITS:
        return None
    reason = Reason.TIGHT if verdict is Verdict.TIGHT else Reason.OVER
    return Explanation(reason=reason, data={"memory": memory})
