"""Machines that are not here: ``--gpus "2x RTX 2080 Ti 22GiB"`` and machine files."""

from __future__ import annotations

import re
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from memory_models.device import Device, Host, LinkType, Machine
from memory_models.units import GIB
from tsplanner.errors import TsplannerError, UsageError, did_you_mean, named, quoted
from tsplanner.hardware.gpus.cards import CATALOG
from tsplanner.hardware.gpus.catalog import GENERATIONS, Gpu, usable_bytes
from tsplanner.hardware.gpus.instances import instance_by_name
from tsplanner.hardware.gpus.names import gpu_by_driver_name, gpu_by_text, size_of
from tsplanner.hardware.links import Link
from tsplanner.hardware.nodes import Nodes, several
from tsplanner.reading import read_yaml
from tsplanner.settings import configs_folder

MAX_GPUS = 4096
"""Far above every machine that is one to its processes; a count beyond it is a slip."""
NO_GPUS = frozenset({"cpu", "none"})

OLDEST_CAPABILITY = (7, 0)
"""Oldest cards that current builds of PyTorch, Triton and bitsandbytes run on; builds for CUDA 13
start at 7.5."""
DESCRIBED_PACKAGES = ("bitsandbytes", "deepspeed")
"""Assumed on a described machine whose description names no packages."""
KNOWN_PACKAGES = (
    "bitsandbytes",
    "deepspeed",
    "flash_attn",
    "flex_attention",
    "liger_kernel",
    "triton",
)
"""Optional training packages that change what can be planned, by module name; flex_attention is a
module of torch that can be used."""

DESCRIBED_CPU_COUNT = 8
"""Assumed cores of a machine whose description names none."""
HOST_RESERVE_BYTES = 2 * GIB
"""The system of a described machine is assumed to use this, at most a quarter of the memory."""
ASSUMED_HOST_SHARE = {False: 1, True: 2}
"""RAM over the memory of all GPUs where nobody says how much there is, by whether the cards are
boards with NVLink built in. It is the low end of what is rented: 1.8 with 8x A100 80GB (AWS
p4de.24xlarge, 1,152 GiB) and 1.8 with 8x H200 (p5en.48xlarge, 2,048 GiB); 1.0 with one T4
(g4dn.xlarge, 16 GiB)."""
LEAST_ASSUMED_HOST_BYTES = 16 * GIB

_COUNT_FIRST = re.compile(r"\s*(\d{1,4})\s*[x×*]\s*(\S.*)", re.IGNORECASE | re.ASCII)  # noqa: RUF001
_COUNT_LAST = re.compile(
    r"(.*\S)(?:\s+[x×*]|\s*:)\s*(\d{1,4})\s*",  # noqa: RUF001
    re.IGNORECASE | re.ASCII,
)
_GENERIC = re.compile(
    r"(?P<size>\d{1,4}(?:\.\d{1,3})?)\s*gi?b\s+sm_?(?P<major>\d{1,2})(?P<minor>\d)",
    re.IGNORECASE | re.ASCII,
)
"""A card by memory and compute capability, such as ``24GiB sm_86``."""


def parse_gpus(text: str) -> tuple[Device, ...]:
    """GPUs of a description such as ``1x A100 80GiB + 2x RTX 3090``; ``cpu`` means none.

    Raises UsageError for an unknown or ambiguous card and for a count outside 1 to MAX_GPUS.
    """
    if text.strip().lower() in NO_GPUS:
        return ()
    devices = tuple(device for part in re.split(r"[+,]", text) for device in _cards(part, text))
    if len(devices) > MAX_GPUS:
        raise UsageError(
            f"{named(text)} are {len(devices)} GPUs; one machine has at most {MAX_GPUS}"
        )
    return devices


def _cards(part: str, text: str) -> tuple[Device, ...]:
    """The devices of one part of a description, such as ``2x RTX 3090`` or ``p4d.24xlarge``."""
    if not part.strip():
        raise UsageError(f'{named(text)} names no GPU: write for example "2x RTX 3090" or "cpu"')
    if (rented := instance_by_name(part)) is not None:
        return _cards(rented.gpus, text)
    count, name = 1, part.strip()
    if found := _COUNT_FIRST.fullmatch(part):
        count, name = int(found.group(1)), found.group(2)
    elif found := _COUNT_LAST.fullmatch(part):
        count, name = int(found.group(2)), found.group(1)
    if not 1 <= count <= MAX_GPUS:
        raise UsageError(f'"{part.strip()}": the number of GPUs must be 1 to {MAX_GPUS}')
    return (_card(name),) * count


def _card(name: str) -> Device:
    """A card of the catalogue, or any card by memory and compute capability."""
    if found := _GENERIC.fullmatch(name.strip()):
        size, major, minor = found.groups()
        capability = (int(major), int(minor))
        _refuse_old(name.strip(), capability)
        return _generic(name.strip(), int(float(size) * GIB), capability)
    gpu, size_gib = gpu_by_text(name)
    _refuse_old(gpu.name, gpu.compute_capability)
    total = gpu.total_bytes(size_gib)
    return Device(
        name=gpu.name,
        total_bytes=total,
        free_bytes=usable_bytes(total),
        compute_capability=gpu.compute_capability,
        matrix_flops_per_second=gpu.matrix_flops_per_second,
        memory_bytes_per_second=gpu.memory_bytes_per_second,
        host_link_bytes_per_second=gpu.host_link_bytes_per_second,
    )


def _refuse_old(name: str, capability: tuple[int, int]) -> None:
    """Raise UsageError for a card that the training stack of today does not run on."""
    if (6, 0) <= capability < OLDEST_CAPABILITY:
        major, minor = capability
        raise UsageError(
            f"{named(name)} has compute capability {major}.{minor}, and current builds of PyTorch, "
            f"Triton and bitsandbytes start at {OLDEST_CAPABILITY[0]}.{OLDEST_CAPABILITY[1]}: name "
            'a newer card, such as "T4", or plan for the CPU with "cpu"'
        )


def _generic(name: str, total: int, capability: tuple[int, int]) -> Device:
    """A card with the rates of the slowest card of its compute capability and memory.

    Where no card of the catalogue has as much, all of its compute capability count. Raises
    UsageError for a compute capability that none has.
    """
    like = [gpu for gpu in CATALOG if gpu.compute_capability == capability]
    like = [gpu for gpu in like if size_of(gpu, total / GIB) is not None] or like
    if not like or not usable_bytes(total):
        known = ", ".join(
            f"sm_{major}{minor}"
            for major, minor in GENERATIONS
            if (major, minor) >= OLDEST_CAPABILITY
        )
        raise UsageError(f"{named(name)}: write the memory in GiB and one of {known}")
    return Device(
        name=name,
        total_bytes=total,
        free_bytes=usable_bytes(total),
        compute_capability=capability,
        matrix_flops_per_second=min(gpu.matrix_flops_per_second for gpu in like),
        memory_bytes_per_second=min(gpu.memory_bytes_per_second for gpu in like),
        host_link_bytes_per_second=min(gpu.host_link_bytes_per_second or inf for gpu in like),
    )


def described_link(
    devices: tuple[Device, ...],
    kind: LinkType | None = None,
    bytes_per_second: float | None = None,
) -> Link | None:
    """Link of a described machine; None for fewer than two GPUs.

    Boards with built-in NVLink use NVLink; cards that need a bridge are assumed to use PCIe
    unless ``kind`` says otherwise. Raises UsageError for NVLink on a card that has none.
    """
    if len(devices) < 2:
        return None
    rows = [gpu_by_driver_name(device.name, device.total_bytes) for device in devices]
    if kind is None:
        wired = all(gpu is not None and gpu.links.nvlink_built_in for gpu in rows)
        kind = LinkType.NVLINK if wired else LinkType.PCIE
    if bytes_per_second is None:
        bytes_per_second = _slowest_rate(devices, rows, kind)
    return Link(kind=kind, bytes_per_second=bytes_per_second)


def _slowest_rate(
    devices: tuple[Device, ...], rows: list[Gpu | None], kind: LinkType
) -> float | None:
    """The lowest rate of the cards in bytes per second; None where one is not known."""
    if kind is LinkType.PCIE:
        rates = [device.host_link_bytes_per_second for device in devices]
    else:
        rates = [gpu.links.nvlink_bytes_per_second if gpu else None for gpu in rows]
        without = [d.name for d, rate in zip(devices, rates, strict=True) if rate is None]
        if without:
            raise UsageError(f"link: the {without[0]} has no NVLink; write pcie")
    known = [rate for rate in rates if rate is not None]
    return min(known) if len(known) == len(rates) else None


def described_host(memory_bytes: int, cpu_count: int = DESCRIBED_CPU_COUNT) -> Host:
    """The host of a described machine with so much RAM, of which its system uses a little."""
    return Host(
        total_bytes=memory_bytes,
        available_bytes=memory_bytes - min(HOST_RESERVE_BYTES, memory_bytes // 4),
        cpu_count=cpu_count,
    )


def assumed_host(devices: tuple[Device, ...]) -> Host:
    """The host of GPUs whose host nobody described (`ASSUMED_HOST_SHARE`)."""
    rows = [gpu_by_driver_name(device.name, device.total_bytes) for device in devices]
    if any(gpu is not None and gpu.links.shares_host_memory for gpu in rows):
        # The RAM is what the cards count as theirs: of it nothing is promised twice.
        return replace(described_host(LEAST_ASSUMED_HOST_BYTES), assumed=True)
    boards = all(gpu is not None and gpu.links.nvlink_built_in for gpu in rows)
    together = sum(device.total_bytes for device in devices) * ASSUMED_HOST_SHARE[boards]
    return replace(described_host(max(together, LEAST_ASSUMED_HOST_BYTES)), assumed=True)


def machine_name(devices: tuple[Device, ...], host: Host) -> str:
    """The name of a machine for people: ``2x RTX 2080 Ti`` or ``CPU with 16 GiB``."""
    if not devices:
        return f"CPU with {host.total_bytes / GIB:.0f} GiB"
    names = [device.name for device in devices]
    return " + ".join(f"{names.count(name)}x {name}" for name in dict.fromkeys(names))


def shipped_machine(name: str) -> Path | None:
    """The file of a machine that comes with tsplanner; None for an unknown name."""
    return configs_folder() / "machines" / f"{name}.yaml" if name in shipped_machines() else None


def shipped_machines() -> list[str]:
    """Names of the machines that come with tsplanner."""
    return sorted(path.stem for path in (configs_folder() / "machines").glob("*.yaml"))


def read_machine_file(path: Path) -> Machine:
    """The machine in a YAML file; a bare name finds a machine that comes with tsplanner.

    Keys: ``gpus`` and ``host_memory_gib`` are required; ``name``, ``cpu_count``, ``disk_free_gib``,
    ``link`` (nvlink or pcie), ``link_gib_per_second``, ``nodes`` (machines alike),
    ``node_link_gbit_per_second`` (of one of them) and ``packages`` may be left out.
    Raises UsageError for unknown or missing keys and wrong values, TsplannerError for a file that
    cannot be read.
    """
    found = path if path.is_file() else shipped_machine(str(path)) or path
    try:
        content = read_yaml(found)
    except OSError as error:
        known = shipped_machines()
        raise TsplannerError(
            f"cannot read machine file {path}: {error.strerror}.{did_you_mean(str(path), known)} "
            f"Machines that come with tsplanner: {', '.join(known)}"
        ) from error
    except ValueError as error:
        raise UsageError(f"machine file {path}: {error}") from error
    try:
        return _machine(_checked(content), found.stem)
    except UsageError as error:
        raise UsageError(f"machine file {path}: {error}") from error


def _number(value: object) -> bool:
    # No machine has a million of anything here; infinities and NaN fail the comparison too.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1e6


_KEYS: dict[str, tuple[str, Any]] = {
    "name": ("a text", lambda value: isinstance(value, str) and bool(value.strip())),
    "gpus": ('a text such as "2x RTX 3090" or "cpu"', lambda value: isinstance(value, str)),
    "host_memory_gib": ("a number above 0", _number),
    "cpu_count": ("an integer above 0", lambda value: _number(value) and value == int(value)),
    "disk_free_gib": ("a number above 0", _number),
    "link": ("nvlink or pcie", lambda value: value in [*LinkType]),
    "link_gib_per_second": ("a number above 0", _number),
    "nodes": ("an integer above 0", lambda value: _number(value) and value == int(value)),
    "node_link_gbit_per_second": ("a number above 0", _number),
    "packages": (
        f"a list of {', '.join(KNOWN_PACKAGES)}",
        lambda value: isinstance(value, list) and all(each in KNOWN_PACKAGES for each in value),
    ),
}
"""By key: what the value must be, in words, and whether a value is that."""


def _checked(content: object) -> dict[str, Any]:
    """The content of the file, once all keys are known and all values are of the right kind."""
    if not isinstance(content, dict):
        raise UsageError(f"expected keys such as gpus and host_memory_gib, not {quoted(content)}")
    for key, value in content.items():
        if key not in _KEYS:
            raise UsageError(f"unknown key {named(key)}.{did_you_mean(str(key)[:80], _KEYS)}")
        wanted, accepts = _KEYS[key]
        if not accepts(value):
            raise UsageError(f"{key} must be {wanted}, not {quoted(value)}")
    for key in ("gpus", "host_memory_gib"):
        if key not in content:
            raise UsageError(f'the key "{key}" is missing: it must be {_KEYS[key][0]}')
    return content


def _machine(keys: dict[str, Any], stem: str) -> Machine:
    """The machine that checked keys describe."""
    devices = parse_gpus(keys["gpus"])
    rate = keys.get("link_gib_per_second")
    link = described_link(
        devices,
        LinkType(keys["link"]) if "link" in keys else None,
        None if rate is None else rate * GIB,
    )
    disk = keys.get("disk_free_gib")
    cores = int(keys.get("cpu_count", DESCRIBED_CPU_COUNT))
    machine = Machine(
        name=keys.get("name", stem),
        devices=devices,
        host=replace(
            described_host(int(keys["host_memory_gib"] * GIB), cores),
            disk_free_bytes=None if disk is None else int(disk * GIB),
        ),
        link=link.kind if link else None,
        link_bytes_per_second=link.bytes_per_second if link else None,
        packages=tuple(keys.get("packages", DESCRIBED_PACKAGES)),
        detected=False,
    )
    network = keys.get("node_link_gbit_per_second")
    return several(machine, Nodes(count=int(keys.get("nodes", 1)), gbit_per_second=network))
