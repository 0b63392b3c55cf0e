"""Training on the CPU: the device is the host, and the memory is resident bytes."""

from __future__ import annotations

from dataclasses import replace

from memory_models.calibration import DEFAULT, Calibration
from memory_models.result import Component, Interval, MemoryEstimate

RUNTIME_UPPER = 1.25
"""Upper bound over expected value of the libraries' resident bytes."""
_GPU_ONLY = frozenset({"cuBLAS workspace", "context and libraries", "fragmentation"})


def on_cpu(estimate: MemoryEstimate, calibration: Calibration = DEFAULT) -> MemoryEstimate:
    """The estimate with the same tensors in host memory.

    There is no CUDA context and no workspace. libc takes the place of the caching allocator, and
    the libraries' own resident bytes are added.
    """
    parts = [part for part in estimate.components if part.name not in _GPU_ONLY]
    tensors = sum(part.bytes for part in parts)
    runtime = calibration.host.cpu_runtime_bytes
    upper = round(tensors * calibration.host.cpu_activation_upper) + round(RUNTIME_UPPER * runtime)
    resident = Interval(
        expected=round((tensors + runtime) * calibration.device_factor),
        upper=round(max(upper, tensors + runtime) * calibration.device_factor),
    )
    named = (*parts, Component(name="libraries", bytes=resident.expected - tensors))
    return replace(
        estimate,
        peak_allocated_bytes=Interval(expected=tensors, upper=upper - runtime),
        peak_reserved_bytes=Interval(expected=tensors, upper=upper - runtime),
        process_bytes=resident,
        host_bytes=resident,
        components=named,
        assumptions=(
            "training on the CPU: memory is resident bytes, estimated roughly",
            # Notes that name the H200 speak of GPU constants, which have no part in these figures.
            *(note for note in estimate.assumptions if "H200" not in note),
        ),
    )
