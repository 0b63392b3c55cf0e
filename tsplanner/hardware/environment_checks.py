"""The checks of ``tsplanner doctor``: a table of small functions, each from facts to one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from memory_models.device import Device
from memory_models.units import GIB, format_gib
from tsplanner.hardware.environment import Check, EnvironmentFacts, State
from tsplanner.hardware.library_checks import LIBRARY_CHECKS, dotted, sm

_gib = partial(format_gib, digits=1)

MINIMUM_PYTHON = (3, 11)
LOW_MEMORY_BYTES = 4 * GIB
"""Importing torch, transformers and PEFT takes about 1 GiB in each process."""
LOW_SHARED_MEMORY_BYTES = 1 * GIB
"""Containers give 64 MiB unless told otherwise; NCCL and data-loader workers need more."""
LOW_DISK_BYTES = 20 * GIB


def run_checks(facts: EnvironmentFacts) -> tuple[Check, ...]:
    """Every check, in the order of printing."""
    return tuple(check(facts) for check in CHECKS)


def _python(facts: EnvironmentFacts) -> Check:
    old = facts.python[:2] < MINIMUM_PYTHON
    return Check(
        name="python",
        state=State.BROKEN if old else State.OK,
        found=dotted(facts.python),
        fix=f"use Python {dotted(MINIMUM_PYTHON)} or later" if old else None,
        required=True,
        for_plans=True,
    )


def _driver(facts: EnvironmentFacts) -> Check:
    reading = facts.reading
    if reading.driver_version is None:
        return Check(
            name="nvidia driver",
            state=State.MISSING,
            found=reading.reason or "the driver does not say its version",
            fix="training here runs on the CPU; for a GPU that is not here, plan with --gpus",
        )
    cuda = f", runs CUDA up to {reading.cuda_version}" if reading.cuda_version else ""
    return Check(name="nvidia driver", state=State.OK, found=f"{reading.driver_version}{cuda}")


def _gpus(facts: EnvironmentFacts) -> Check:
    devices = facts.reading.devices
    if not devices:
        return Check(name="gpus", state=State.OK, found="none")
    words = [
        f"{device.name} ({sm(device)}, {_gib(device.free_bytes)} of "
        f"{_gib(device.total_bytes)} GiB free, {_host_link(device)})"
        for device in devices
    ]
    link = facts.reading.link
    if link is not None:
        rate = "" if link.bytes_per_second is None else f" {_gib(link.bytes_per_second)} GiB/s"
        words.append(f"joined by {link.kind}{rate}")
    others = [f"{each.name} ({each.pid})" for device in devices for each in device.processes]
    if not others:
        return Check(name="gpus", state=State.OK, found=", ".join(words))
    return Check(
        name="gpus",
        state=State.WARN,
        found=", ".join(words),
        fix=f"in use by {', '.join(dict.fromkeys(others))}; plans count only what is free now",
    )


def _host_link(device: Device) -> str:
    """The link to the host, over which streamed layers and offloaded weights pass."""
    rate = device.host_link_bytes_per_second
    return "link to the host not known" if rate is None else f"{rate / 1e9:.0f} GB/s to the host"


def _bf16(facts: EnvironmentFacts) -> Check:
    devices = facts.reading.devices
    without = [device for device in devices if not device.has_bf16]
    if not devices:
        return Check(name="bf16", state=State.OK, found="no GPU")
    if not without:
        return Check(name="bf16", state=State.OK, found="native (compute capability 8.0 or later)")
    claims = (facts.libraries.get("torch") or {}).get("claims_bf16")
    lie = "; torch.cuda.is_bf16_supported() says yes, but that is emulation" if claims else ""
    return Check(
        name="bf16",
        state=State.WARN,
        found=f"not on {without[0].name} ({sm(without[0])}; bf16 needs 8.0){lie}",
        fix="nothing to do: plans use fp16 with loss scaling here",
    )


def _memory(facts: EnvironmentFacts) -> Check:
    host = facts.host
    limit = "" if host.memory_limited_by == "host" else f" ({host.memory_limited_by} limit)"
    found = (
        f"{_gib(host.available_bytes)} of {_gib(host.total_bytes)} GiB free{limit}, "
        f"{host.cpu_count} cores"
    )
    low = host.available_bytes < LOW_MEMORY_BYTES
    fix = "free some memory or raise the container's limit: imports alone take 1 GiB per process"
    return _low("memory", found, low, fix)


def _shared_memory(facts: EnvironmentFacts) -> Check:
    size = facts.shared_memory_bytes
    if size is None:
        return Check(name="shared memory", state=State.OK, found="no /dev/shm on this system")
    found = f"{_gib(size)} GiB in /dev/shm"
    fix = "several GPUs exchange data there: start the container with --shm-size=8g"
    return _low("shared memory", found, size < LOW_SHARED_MEMORY_BYTES, fix)


def _disk(facts: EnvironmentFacts) -> Check:
    free = facts.host.disk_free_bytes
    if free is None:
        return Check(name="disk", state=State.WARN, found="free space not known")
    fix = "checkpoints of a 14B adapter run take several GiB: free some space"
    return _low("disk", f"{_gib(free)} GiB free", free < LOW_DISK_BYTES, fix)


def _low(name: str, found: str, low: bool, fix: str) -> Check:
    """A check that warns with what to do if a resource is low."""
    state = State.WARN if low else State.OK
    return Check(name=name, state=state, found=found, fix=fix if low else None)


CHECKS: tuple[Callable[[EnvironmentFacts], Check], ...] = (
    _python,
    _driver,
    _gpus,
    *LIBRARY_CHECKS,
    _bf16,
    _memory,
    _shared_memory,
    _disk,
)
"""To add a check, add a function here or to ``LIBRARY_CHECKS``."""
