"""Cases of ``tsplanner estimate`` that are traced: the real model run without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from memory_models.architecture import Architecture
from memory_models.device import Device
from memory_models.estimate import check, estimate_memory
from memory_models.frozen import frozen
from memory_models.result import MemoryEstimate
from memory_models.states.optimizer import PAGED, paged_state_bytes
from memory_models.units import format_gib
from tsplanner.errors import TsplannerError
from tsplanner.models.config import NoReaderError
from tsplanner.models.source import ModelFiles, find_model, read_architecture
from tsplanner.planner.gather.cases import (
    as_stored,
    case_device,
    case_settings,
    model_name,
    on_all_gpus,
    stored_notes,
)
from tsplanner.planner.gather.recipes import Recipe, recipe_of
from tsplanner.tracing.client import refuse, trace_all
from tsplanner.tracing.records import HybridKernels, Subject, Trace, TraceOutcome, TraceRequest
from tsplanner.tracing.traced_estimate import traced_estimate, workspace_bytes

MOST_STATE_BYTES = 8
"""Bytes of two fp32 moments of a trained element: the most that an optimizer pages."""


@frozen
class TracedCase:
    """One configuration to trace."""

    name: str
    architecture: Architecture | None
    """None if the model type has no reader."""
    no_reader: str
    """Why there is no reader; empty if there is one."""
    device: Device | None
    request: TraceRequest
    recipe: Recipe | None = None
    """The trainer whose habits the settings have."""


@frozen
class Traced:
    """A traced case: its estimate, and the formulas' estimate if the model type has a reader."""

    case: TracedCase
    trace: Trace
    estimate: MemoryEstimate
    formula: MemoryEstimate | None


def read_traced_case(
    given: Mapping[str, object],
    files: dict[str, ModelFiles],
    devices: dict[str, Device],
    *,
    trust_remote_code: bool,
    hybrid_kernels: HybridKernels = HybridKernels.INSTALLED,
) -> TracedCase:
    """Check a case's keys and values; ``files`` and ``devices`` cache models and GPUs.

    Raises:
        UsageError, TsplannerError, ValueError: as ``read_case``; settings that no trace covers.
    """
    name = model_name(given)
    if name not in files:
        files[name] = find_model(name)
    found = files[name]
    settings = case_settings(as_stored(on_all_gpus(given), found.config))
    device = case_device(given, devices)
    refuse(settings)
    architecture, no_reader = _architecture(found)
    if architecture is not None:
        check(architecture, settings, device)
    else:
        _check_length(found.config, settings.sequence_length)
    subject = Subject(
        config=found.config,
        folder=str(found.folder.resolve()) if trust_remote_code else None,
        trust_remote_code=trust_remote_code,
    )
    return TracedCase(
        name=found.name,
        architecture=architecture,
        no_reader=no_reader,
        device=device,
        request=TraceRequest(
            subject=subject,
            settings=settings,
            workspace_bytes=workspace_bytes(device),
            hybrid_kernels=hybrid_kernels,
        ),
        recipe=recipe_of(given),
    )


def _check_length(config: Mapping[str, object], sequence_length: int) -> None:
    """Check a sequence length against a config that no reader knows.

    Rotary positions, which a config shows by its ``rope`` keys, have no end.
    """
    most, rotary = config.get("max_position_embeddings"), any("rope" in key for key in config)
    if isinstance(most, int) and sequence_length > most and not rotary:
        raise ValueError(
            f"sequence_length {sequence_length} is above the model's max_position_embeddings {most}"
        )


def _architecture(files: ModelFiles) -> tuple[Architecture | None, str]:
    try:
        return read_architecture(files.config, name=files.name, source=str(files.path)), ""
    except NoReaderError as error:
        return None, str(error)


def run_traces(
    cases: Sequence[TracedCase],
    on_result: Callable[[Traced | TsplannerError], None],
    on_case: Callable[[int, int], None] = lambda done, count: None,
) -> None:
    """Trace all cases in one process; results come in order.

    ``on_case`` is told the number of cases that are done, and of all, before each case.

    Raises:
        TsplannerError: packages are missing, or the process died.
    """
    waiting = list(cases)

    def take(outcome: TraceOutcome) -> None:
        case = waiting.pop(0)
        on_result(_result(case, outcome))
        if waiting:
            on_case(len(cases) - len(waiting), len(cases))

    on_case(0, len(cases))
    trace_all([case.request for case in cases], take)


def _result(case: TracedCase, outcome: TraceOutcome) -> Traced | TsplannerError:
    if outcome.trace is None:
        return TsplannerError(outcome.error)
    settings = case.request.settings
    formula, paged = None, 0
    if case.architecture is not None:
        formula = estimate_memory(case.architecture, settings, case.device, replay=True)
        paged = paged_state_bytes(case.architecture, settings.states)
    elif settings.kernels.optimizer in PAGED:
        paged = MOST_STATE_BYTES * outcome.trace.parameters_trainable
    estimate = traced_estimate(outcome.trace, case.device, paged=paged)
    notes = (*stored_notes(case.request.subject.config), _beside(case, formula))
    return Traced(
        case=case,
        trace=outcome.trace,
        estimate=replace(estimate, assumptions=(*estimate.assumptions, *notes)),
        formula=formula,
    )


def _beside(case: TracedCase, formula: MemoryEstimate | None) -> str:
    if formula is None:
        return "no reader for this model type, so no formula to compare with"
    return (
        f"by formula: {format_gib(formula.peak_allocated_bytes.expected, unit=True)} allocated, "
        f"{format_gib(formula.peak_reserved_bytes.expected, unit=True)} reserved"
    )


def largest_tensors(trace: Trace) -> list[dict[str, object]]:
    """What is alive at the peak, as plain values."""
    return [
        {"kind": row.kind, "origin": row.origin, "count": row.count, "bytes": row.bytes}
        for row in trace.alive
    ]
