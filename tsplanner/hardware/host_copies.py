"""Rates of copies between host and GPUs, and of reads from disk, as they were measured here.

They lie in <state>/host_links.json, by the GPU's uuid and by the number of the disk's device.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from memory_models.device import Device, HostCopies
from tsplanner import runs
from tsplanner.settings import host_links_file

DEVICES, DISKS = "devices", "disks"
FIELDS = ("to_device", "to_host", "shared")


def read_kept(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """What was measured; empty where nothing was, or where the file cannot be read."""
    found: object = None
    with suppress(OSError, ValueError):
        found = json.loads((path or host_links_file()).read_text(encoding="utf-8"))
    parts = found if isinstance(found, dict) else {}
    return {
        name: dict(part) if isinstance(part, dict) else {}
        for name in (DEVICES, DISKS)
        for part in (parts.get(name),)
    }


def keep(
    devices: Mapping[str, HostCopies], disks: Mapping[str, float], path: Path | None = None
) -> None:
    """Add what was measured to what is kept.

    Raises:
        DiskError: the state folder cannot be written.
    """
    path = path or host_links_file()
    known = read_kept(path)
    for uuid, copies in devices.items():
        known[DEVICES][uuid] = {name: getattr(copies, name) for name in FIELDS}
    known[DISKS].update(disks)
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.write_json(path, known)


def with_copies(devices: tuple[Device, ...], path: Path | None = None) -> tuple[Device, ...]:
    """The GPUs with the rates that were measured of them."""
    known = read_kept(path)[DEVICES]
    return tuple(
        device if found is None else replace(device, host_copies=found)
        for device in devices
        for found in (copies_of(known.get(device.uuid or "")),)
    )


def copies_of(values: object) -> HostCopies | None:
    """The rates of one GPU from their plain values; None for anything else."""
    if not isinstance(values, dict):
        return None
    rates = [values.get(name) for name in FIELDS]
    if not all(isinstance(rate, (int, float)) and rate > 0 for rate in rates):
        return None
    return HostCopies(**dict(zip(FIELDS, map(float, rates), strict=True)))  # type: ignore[arg-type]


def disk_of(path: Path) -> str | None:
    """The disk of a file or folder by its number; None where there is no such path."""
    try:
        return str(os.stat(path).st_dev)
    except OSError:
        return None


def disk_rate(path: Path | None, kept: Path | None = None) -> float | None:
    """Measured bytes per second of reads from a path's disk; None: not measured."""
    disk = None if path is None else disk_of(path)
    found = read_kept(kept)[DISKS].get(disk or "")
    return float(found) if isinstance(found, (int, float)) and found > 0 else None
