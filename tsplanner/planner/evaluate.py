"""One candidate's bytes, seconds and verdict."""

from __future__ import annotations

from dataclasses import dataclass

from memory_models.device import Device
from memory_models.estimate import estimate_memory
from memory_models.host import on_cpu
from memory_models.records import Interval, MemoryEstimate
from memory_models.units import ceil_div
from tsplanner.planner.plan import (
    HardwareSettings,
    Plan,
    TimeEstimate,
    Verdict,
    training_settings,
)
from tsplanner.planner.request import PlanRequest
from tsplanner.throughput.rates import Rates, rates_of
from tsplanner.throughput.step_time import StepTime, step_time

HOST_RESERVE_FRACTION = 0.05
"""Share of the host's available memory that a plan leaves alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A candidate with what it costs."""

    hardware: HardwareSettings
    memory: MemoryEstimate
    time: StepTime
    """One optimizer step at the mean sequence length."""
    verdict: Verdict
    free_bytes: int
    reason: str = ""
    """Why it is tight or does not fit."""

    @property
    def samples_per_second(self) -> float:
        """Predicted speed at the unchanged effective batch."""
        return self.hardware.effective_batch_size / self.time.seconds


def evaluate(
    request: PlanRequest, hardware: HardwareSettings, *, replay: bool = False
) -> Evaluated:
    """Estimate a candidate; memory by the longest batch, time by the mean sample.

    ``replay``: reserved bytes by replaying the step (see ``estimate_memory``): slower, narrower.

    Raises:
        ValueError: the configuration cannot run at all.
    """
    longest = request.dataset.sequence_length(hardware.micro_batch_size)
    settings = training_settings(request.learning, hardware, longest)
    device = None if request.on_cpu else _fullest(request, hardware)
    memory = estimate_memory(
        request.architecture,
        settings,
        device,
        request.calibration,
        replay=replay and device is not None,
    )
    if request.on_cpu:
        memory = on_cpu(memory, request.calibration)
    free = device.free_bytes if device else host_budget(request)
    verdict, reason = _judge(request, memory, free, on_cpu=device is None)
    mean = max(1, min(longest, round(request.dataset.mean_sequence)))
    at_mean = training_settings(request.learning, hardware, mean)
    return Evaluated(
        hardware=hardware,
        memory=memory,
        time=step_time(request.architecture, at_mean, _rates(request)),
        verdict=verdict,
        free_bytes=free,
        reason=reason,
    )


def _fullest(request: PlanRequest, hardware: HardwareSettings) -> Device:
    """Of the GPUs that the plan would use (those with most free memory), the one with least."""
    ordered = sorted(request.machine.devices, key=lambda device: -device.free_bytes)
    return ordered[: hardware.world_size][-1]


def _rates(request: PlanRequest) -> Rates:
    return rates_of(request.machine, request.efficiency, on_cpu=request.on_cpu)


def host_budget(request: PlanRequest) -> int:
    """Host bytes that a plan may take."""
    return int(request.machine.host.available_bytes * (1 - HOST_RESERVE_FRACTION))


def _judge(
    request: PlanRequest, memory: MemoryEstimate, free: int, *, on_cpu: bool
) -> tuple[Verdict, str]:
    """Three states, by the device and (under a GPU) by the host as well."""
    device = _state(memory.process_bytes, free)
    if on_cpu:
        return device, _why(device, "the host's memory")
    host = _state(memory.host_bytes, host_budget(request))
    order = [Verdict.FITS, Verdict.TIGHT, Verdict.DOES_NOT_FIT]
    if order.index(host) > order.index(device):
        return host, _why(host, "the host's memory")
    return device, _why(device, "the GPU's free memory")


def _state(needed: Interval, free: int) -> Verdict:
    if needed.upper <= free:
        return Verdict.FITS
    return Verdict.TIGHT if needed.expected <= free else Verdict.DOES_NOT_FIT


def _why(verdict: Verdict, where: str) -> str:
    if verdict is Verdict.FITS:
        return ""
    if verdict is Verdict.TIGHT:
        return f"tight: the 95 % bound is over {where}"
    return f"over {where}"


def finish(request: PlanRequest, found: Evaluated, version: str) -> Plan:
    """The Plan of an evaluated candidate."""
    rates = _rates(request)
    train_rows = training_rows(request.dataset.rows_kept, request.learning.validation_fraction)
    per_epoch = max(1, ceil_div(train_rows, request.learning.effective_batch_size))
    steps = per_epoch * request.learning.num_train_epochs
    seconds = found.time.seconds
    assumptions = [*found.memory.assumptions, f"speed: {rates.basis}"]
    if not request.model.has_weights:
        assumptions.append("no weights beside config.json: whatever runs, runs on random weights")
    if request.dataset.counted_by == "cutoff_len":
        assumptions.append("no dataset given: every sample taken to be cutoff_len long")
    if request.dataset.counted_by == "estimate":
        assumptions.append("no tokenizer: lengths estimated from characters")
    if not request.machine.detected:
        assumptions.append("the machine is described, not looked at")
    return Plan(
        tsplanner_version=version,
        model=request.model,
        dataset=request.dataset,
        machine=request.machine,
        learning=request.learning,
        hardware=found.hardware,
        memory=found.memory,
        time=TimeEstimate(
            step_seconds=seconds,
            relative_error=rates.relative_error,
            steps_per_epoch=per_epoch,
            total_steps=steps,
            total_seconds=steps * seconds,
            basis=rates.basis,
        ),
        free_bytes=found.free_bytes,
        verdict=found.verdict,
        memory_factor=request.calibration.device_factor,
        time_factor=request.efficiency.time_factor,
        assumptions=tuple(dict.fromkeys(assumptions)),
    )


def training_rows(rows: int, validation_fraction: float) -> int:
    """Rows that are trained on; at least one is held out if the fraction is above zero."""
    if rows < 2 or validation_fraction <= 0:
        return rows
    return rows - min(rows - 1, max(1, int(rows * validation_fraction + 0.5)))
