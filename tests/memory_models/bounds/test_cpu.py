"""Training on the CPU."""

from __future__ import annotations

from memory_models.bounds.cpu import on_cpu
from memory_models.estimate import estimate_memory
from memory_models.settings import (
    changed,
)
from tests.support.exact import EXACT, FITTING
from tests.support.toy_decoder import WITH_ENCODER


def test_on_the_cpu_memory_is_resident_bytes_of_tensors_and_libraries() -> None:
    """No context, workspace or fragmentation; the libraries' 5000 bytes come on top."""
    calibration = changed(EXACT, cpu_runtime_bytes=5000, cpu_activation_upper=2.0)
    on_gpu = estimate_memory(WITH_ENCODER, FITTING, calibration=calibration)
    found = on_cpu(on_gpu, calibration)
    parts = {part.name: part.bytes for part in found.components}
    assert parts["libraries"] == 5000
    assert not {"cuBLAS workspace", "context and libraries", "fragmentation"} & set(parts)
    tensors = sum(parts.values()) - 5000
    assert found.peak_allocated_bytes.expected == tensors
    assert found.process_bytes.expected == tensors + 5000
    assert found.process_bytes.upper == 2 * tensors + 6250
    assert found.host_bytes == found.process_bytes
