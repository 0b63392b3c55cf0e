"""The plan of a candidate that was evaluated: its seconds in all, its error and its assumptions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memory_models.settings import TrainingSettings, changed
from memory_models.units import format_gib
from tsplanner.planner.devices import device_notes
from tsplanner.planner.evaluate import Evaluated, rates_for
from tsplanner.planner.explain.deepspeed_sizes import deepspeed_notes
from tsplanner.planner.forecast import (
    evaluated_rows,
    evaluation_passes,
    forecast,
    row_length,
)
from tsplanner.planner.gather.refine import refined_for
from tsplanner.planner.packing import settings_of_pass
from tsplanner.planner.plan import Corrections, Plan, TimeEstimate
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import (
    HardwareSettings,
    training_settings,
)
from tsplanner.throughput.errors import relative_error
from tsplanner.throughput.forward_time import forward_time
from tsplanner.throughput.rates import Rates


def finish(request: PlanRequest, found: Evaluated) -> Plan:
    """The Plan of an evaluated candidate."""
    rates, known = rates_for(request, found.hardware), refined_for(request, found.hardware)
    evaluated, passes = evaluated_pass(request, found.hardware)
    together = found.hardware.batch.gradient_accumulation_steps
    forward = forward_time(request.architecture, evaluated, rates, together)
    error = _time_error(request, found, rates)
    run = forecast(
        request.dataset,
        request.learning,
        found.hardware,
        found.time,
        forward.seconds * passes,
        replace(rates.host, compile_seconds=0.0) if known.compiled else rates.host,
        found.memory.parameters_trainable,
    )
    return Plan(
        model=request.model,
        dataset=request.dataset,
        machine=request.machine,
        learning=request.learning,
        hardware=found.hardware,
        memory=found.memory,
        time=TimeEstimate(
            step_seconds=found.time.seconds,
            relative_error=error,
            total_relative_error=run.relative_error(
                step_error=error,
                forward_error=max(error, relative_error(forward, evaluated, rates)),
            ),
            steps_per_epoch=run.steps_per_epoch,
            total_steps=run.total_steps,
            total_seconds=run.total_seconds,
            evaluation_seconds=run.evaluation_seconds,
            saving_seconds=run.saving_seconds,
            basis=rates.basis,
        ),
        free_bytes=found.free_bytes,
        verdict=found.verdict,
        corrections=Corrections(
            memory_factor=known.calibration.device_factor,
            work_factor=known.efficiency.work_factor,
            launch_factor=known.efficiency.launch_factor,
        ),
        assumptions=tuple(dict.fromkeys(_assumptions(request, found, rates))),
    )


def _time_error(request: PlanRequest, found: Evaluated, rates: Rates) -> float:
    """Half-width of the 95 % interval of the step's seconds, narrow if a probe ran this kind."""
    if rates.known_error is not None:
        return rates.known_error
    settings = training_settings(request.learning, found.hardware, 1)
    return refined_for(request, found.hardware).relative_error(
        bound_by_launch=found.time.bound_by_launch,
        otherwise=relative_error(found.time, settings, rates),
    )


def evaluated_pass(
    request: PlanRequest, hardware: HardwareSettings
) -> tuple[TrainingSettings, float]:
    """Training settings of a usual pass of an evaluation, and the number of passes per row."""
    budget = hardware.batch.token_budget
    if budget is None:
        alone = changed(hardware, micro_batch_size=1, gradient_accumulation_steps=1)
        return training_settings(request.learning, alone, row_length(request.dataset)), 1.0
    rows = evaluated_rows(request.dataset, request.learning, hardware)
    found = evaluation_passes(request.dataset, budget, rows)
    return settings_of_pass(request.learning, hardware, found.mean), found.per_row


def _assumptions(request: PlanRequest, found: Evaluated, rates: Rates) -> Iterator[str]:
    """Assumptions that the plan rests on, for its reader."""
    yield from found.memory.assumptions
    yield f"speed: {rates.basis}"
    yield from device_notes(request.machine, found.hardware)
    hardware = found.hardware
    yield from deepspeed_notes(request.architecture, hardware.sharding, hardware.base.quantization)
    if request.dataset.lengths.counted_by == "cutoff_len":
        yield "no dataset given: every sample taken to be cutoff_len long"
    if request.dataset.lengths.counted_by == "estimate":
        yield "no tokenizer: lengths estimated from characters"
    if not request.machine.detected:
        yield "the machine is described, not looked at"
    if (link := request.machine.node_link) is not None and link.assumed is not None:
        rate = f"{link.gbit_per_second:,.0f} Gbit/s"
        yield f"{rate} between the machines, assumed ({link.assumed}; --node-link states it)"
    if request.machine.host.assumed:
        ram = format_gib(request.machine.host.total_bytes)
        yield f"{ram} GiB of host RAM, by the GPUs' memory (--host-memory states it)"
