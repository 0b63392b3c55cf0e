"""From a trace to the document that ``estimate`` gives."""

from __future__ import annotations

from tsplanner.tracing.records import Trace
from tsplanner.tracing.traced_estimate import traced_estimate, workspace_bytes

MIB = 2**20
TRACE = Trace(
    parameters_total=1000,
    parameters_trainable=10,
    persistent_bytes=600 * MIB,
    peak_allocated_bytes=1000 * MIB,
    peak_reserved_bytes=1100 * MIB,
    peak_instant="backward",
    components={"base weights": 600 * MIB, "activations": 400 * MIB},
    seconds=3.2,
    versions={"torch": "2.13.0"},
)


def test_traced_estimate_keeps_the_traced_peaks() -> None:
    """Expected values are the trace's own; bounds lie above them."""
    found = traced_estimate(TRACE)
    assert found.peak_allocated_bytes.expected == 1000 * MIB
    assert found.peak_reserved_bytes.expected == 1100 * MIB
    assert found.peak_allocated_bytes.upper > 1000 * MIB
    assert found.peak_reserved_bytes.upper > 1100 * MIB


def test_traced_estimate_adds_context_and_libraries_to_the_process() -> None:
    """On an H200 they are 758 MiB; components add up to the process."""
    found = traced_estimate(TRACE)
    assert found.process_bytes.expected == 1858 * MIB
    assert sum(part.bytes for part in found.components) == 1858 * MIB


def test_traced_estimate_says_what_it_was_traced_with() -> None:
    """Another version of a library may keep other tensors."""
    assert "traced in 3 s with torch 2.13.0" in traced_estimate(TRACE).assumptions[0]


def test_workspace_bytes_are_those_of_the_generation_measured() -> None:
    """Two handles of 32 MiB on Hopper."""
    assert workspace_bytes(None) == 64 * MIB
