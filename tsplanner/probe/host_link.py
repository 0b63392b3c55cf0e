"""Measures the links between host and GPUs in a child process, and keeps what was measured."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from memory_models.device import Device, HostCopies, Machine
from memory_models.frozen import frozen
from tsplanner.hardware.host_copies import copies_of, disk_of, disk_rate, keep
from tsplanner.planner.devices import used_devices
from tsplanner.planner.plan import Plan
from tsplanner.processes import run_process
from tsplanner.runs import DiskError

PROGRAM = (sys.executable, "-m", "tsplanner.training.streaming.link_speed")
LIMIT_SECONDS = 120.0


@frozen
class MeasuredLinks:
    """What one measurement found."""

    devices: tuple[tuple[str, HostCopies], ...] = ()
    """uuid and rates of every GPU."""
    disk: float | None = None
    """Bytes per second of reads from the files' disk."""


def measure_links(files: Sequence[Path] = (), program: Sequence[str] = PROGRAM) -> MeasuredLinks:
    """Measure every GPU that CUDA shows and the disk of ``files``, and keep it for later plans.

    Takes the time of ``import torch`` and about a second per GPU. What cannot be measured is left
    out; raises nothing.
    """
    with tempfile.TemporaryDirectory(prefix="tsplanner-link-") as folder:
        out = Path(folder) / "rates.json"
        run_process(
            [*program, str(out), *map(str, files)],
            log_path=Path(folder) / "log",
            time_limit_seconds=LIMIT_SECONDS,
        )
        try:
            found = json.loads(out.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return MeasuredLinks()
    rates = [(str(each.get("uuid")), copies_of(each)) for each in found.get("devices", ())]
    devices = tuple((uuid, copies) for uuid, copies in rates if copies is not None)
    rate, disk = found.get("disk"), disk_of(files[0]) if files else None
    measured = MeasuredLinks(devices=devices, disk=rate)
    # Where nothing can be kept, the next plan goes by the datasheet.
    with suppress(DiskError, OSError):
        keep(dict(devices), {disk: rate} if disk and rate else {})
    return measured


def measure_unknown(plan: Plan, machine: Callable[[], Machine]) -> None:
    """Measure what a streamed plan's forecast depends on and nobody has measured yet."""
    if not plan.hardware.streaming.streams or plan.hardware.accelerator == "cpu":
        return
    files = _files(plan) if plan.hardware.streaming.stream_from_files else []
    unknown = bool(files) and disk_rate(files[0]) is None
    used = used_devices(machine(), plan.hardware)
    if unknown or not all(device.host_copies for device in used):
        measure_links(files)


def _files(plan: Plan) -> list[Path]:
    return sorted(Path(plan.model.path).glob("*.safetensors")) if plan.model.path else []


def link_words(devices: Sequence[Device], measured: MeasuredLinks) -> str:
    """What was measured, for people."""
    if not devices:
        return "no GPU: there is no link to measure"
    known = dict(measured.devices)
    words = []
    for device in devices:
        copies = known.get(device.uuid or "")
        if copies is None:
            words.append(f"{device.name}: not measured")
            continue
        stated = device.host_link_bytes_per_second
        slot = "" if stated is None else f" of {stated / 1e9:.1f}"
        words.append(
            f"{device.name}: {copies.to_device / 1e9:.1f}{slot} GB/s to the GPU, "
            f"{copies.to_host / 1e9:.1f} back"
        )
        if len(devices) > 1:
            words[-1] += f", {copies.shared / 1e9:.1f} while all copy"
    return "; ".join(words)
