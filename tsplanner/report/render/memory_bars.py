"""The memory of a run as two bars: the predicted parts and the measured ones."""

from __future__ import annotations

from tsplanner.planner.plan import Plan
from tsplanner.report.page import Bar, BarChart, Part, Text, words
from tsplanner.report.records.run_record import RunSummary

PARTS: dict[str, tuple[str, int]] = {
    "base weights": ("part_base_weights", 0),
    "adapters": ("part_adapters", 1),
    "optimizer states": ("part_optimizer_states", 2),
    "gradients": ("part_gradients", 3),
    "gathered parameters": ("part_gathered", 8),
    "kept activations": ("part_kept_activations", 4),
    "block in work": ("part_block", 5),
    "head and loss": ("part_head_and_loss", 6),
    "optimizer step": ("part_optimizer_step", 9),
    "communication buffers": ("part_communication", 10),
    "cuBLAS workspace": ("part_workspace", 11),
    "fragmentation": ("part_fragmentation", 12),
    "context and libraries": ("part_context", 7),
    "libraries": ("part_libraries", 7),
}
"""Message and color of each part of an estimate, the same on every page."""

ALLOCATED, CACHED, OUTSIDE, OTHER = 14, 12, 7, 13
"""Colors of the tensors, of other reserved memory, of memory outside PyTorch, of small parts."""

SMALLEST_SHARE = 0.01
"""Parts under this share of the peak are drawn as one part."""


def memory_chart(title: Text, run: RunSummary, plan: Plan) -> BarChart:
    """The bars of one run, and the memory that was free."""
    process = plan.memory.process_bytes
    predicted = Bar(label=words("bar_predicted"), parts=predicted_parts(plan), upper=process.upper)
    measured = measured_parts(run)
    bars = (
        (predicted, Bar(label=words("bar_measured"), parts=measured)) if measured else (predicted,)
    )
    return BarChart(title=title, bars=bars, limit=plan.free_bytes)


def predicted_parts(plan: Plan) -> tuple[Part, ...]:
    """The parts of the expected peak, with small parts as one and without negative ones."""
    whole = plan.memory.process_bytes.expected
    found, small = [], 0
    for component in plan.memory.components:
        if component.bytes < SMALLEST_SHARE * whole:
            small += max(0, component.bytes)
            continue
        key, color = PARTS.get(component.name, ("", OTHER))
        label = words(key) if key else component.name
        found.append(Part(label=label, color=color, bytes=component.bytes))
    if small:
        found.append(Part(label=words("part_other"), color=OTHER, bytes=small))
    return tuple(found)


def measured_parts(run: RunSummary) -> tuple[Part, ...]:
    """Allocated, other reserved and other memory of the process; on a CPU all is one part."""
    memory = run.memory
    allocated, reserved, process = (
        memory.allocated_bytes,
        memory.reserved_bytes,
        memory.process_bytes,
    )
    found: list[tuple[str, int, int]] = []
    if allocated is not None:
        found.append(("part_allocated", ALLOCATED, allocated))
    if allocated is not None and reserved is not None:
        found.append(("part_cached", CACHED, reserved - allocated))
    if process is not None:
        inner = reserved or allocated or 0
        found.append(("part_outside" if inner else "part_process", OUTSIDE, process - inner))
    return tuple(
        Part(label=words(key), color=color, bytes=size) for key, color, size in found if size > 0
    )
