"""A whole trace of a small model, in this process."""

from __future__ import annotations

from importlib import metadata

import pytest

from memory_models.settings import Optimizer, TrainingSettings, from_flat
from tests.support.shrunk import config_of
from tsplanner.errors import TsplannerError
from tsplanner.tracing.records import Subject, Trace, TraceRequest
from tsplanner.tracing.trace import trace_memory


def traced(**changes: object) -> Trace:
    """The trace of a short case of a small Llama."""
    settings = from_flat(
        TrainingSettings, sequence_length=32, optimizer=Optimizer.ADAMW_TORCH, **changes
    )
    return trace_memory(TraceRequest(subject=Subject(config=config_of("llama")), settings=settings))


def test_components_of_a_trace_add_up_to_its_peak() -> None:
    """Each byte that is alive has a kind; the allocator rounds each tensor up to 512 bytes."""
    found = traced()
    rounding = found.peak_allocated_bytes - sum(found.components.values())
    assert 0 <= rounding < 512 * sum(group.count for group in found.alive)
    assert found.components["base weights"] > found.components["adapters"] > 0
    assert found.persistent_bytes < found.peak_allocated_bytes <= found.peak_reserved_bytes
    assert found.peak_instant in ("forward", "backward", "step")
    assert sum(group.bytes for group in found.alive) <= found.peak_allocated_bytes
    assert found.versions["torch"] == metadata.version("torch")


def test_a_workspace_is_part_of_every_peak() -> None:
    """A MiB that cuBLAS holds is a MiB more."""
    settings = from_flat(TrainingSettings, sequence_length=32)
    peaks = [
        trace_memory(
            TraceRequest(
                subject=Subject(config=config_of("llama")),
                settings=settings,
                workspace_bytes=size,
            )
        ).peak_allocated_bytes
        for size in (0, 2**20)
    ]
    assert peaks[1] - peaks[0] == 2**20


def test_several_processes_are_left_to_the_formulas() -> None:
    """The case is refused before a model is built."""
    with pytest.raises(TsplannerError, match="A trace covers one GPU"):
        traced(world_size=2)
