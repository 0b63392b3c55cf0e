"""Which GPUs of a machine a plan uses.

The processes of a plan wait for the slowest GPU, and the fullest GPU sets the memory limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product

from memory_models.device import Device, LinkType, Machine
from memory_models.settings import Sharding
from memory_models.units import GIB
from tsplanner.planner.settings import HardwareSettings
from tsplanner.throughput.rates import LINK_BYTES_PER_SECOND

Trait = Callable[[Device], float]

TRAITS: tuple[Trait, ...] = (
    lambda device: device.matrix_flops_per_second or 0.0,
    lambda device: device.memory_bytes_per_second or 0.0,
    lambda device: device.host_link_bytes_per_second or 0.0,
    lambda device: float(device.has_bf16),
)
"""Traits that the weakest of the GPUs used sets for all of them, besides free memory."""


def used_devices(machine: Machine, hardware: HardwareSettings) -> tuple[Device, ...]:
    """The GPUs that these settings use, of one machine where they use several."""
    return used_machine(machine, hardware).devices


def of_one_kind(machine: Machine, hardware: HardwareSettings) -> tuple[tuple[int, ...], ...]:
    """The processes of a machine whose GPUs have one name and as many GiB, kind by kind."""
    found: dict[tuple[str, int], tuple[int, ...]] = {}
    for process, device in enumerate(used_devices(machine, hardware)):
        kind = (device.name, round(device.total_bytes / GIB))
        found[kind] = (*found.get(kind, ()), process)
    return tuple(found.values())


def used_machine(machine: Machine, hardware: HardwareSettings) -> Machine:
    """The machine with only the GPUs that are used.

    Without NVLink the GPUs reach each other through PCIe at the pace of the slowest slot, unless
    the machine has a figure of its own. A ring over several machines runs at the pace of the
    slower of that link and the network; what stays within a machine runs at that of the link.
    """
    on_cpu = hardware.accelerator == "cpu"
    return _used(machine, hardware.devices, hardware.sharding, on_cpu=on_cpu)


@lru_cache(maxsize=1024)
def _used(
    machine: Machine, positions: tuple[int, ...], sharding: Sharding, *, on_cpu: bool
) -> Machine:
    devices = machine.devices[: sharding.processes_per_node]
    if positions:
        devices = tuple(machine.devices[position] for position in positions)
    if on_cpu:
        devices = ()
    rate = machine.link_bytes_per_second
    slots = [device.host_link_bytes_per_second for device in devices]
    if rate is None and machine.link is not LinkType.NVLINK and len(devices) > 1 and all(slots):
        rate = min(slot for slot in slots if slot)
    within = None
    if sharding.nodes > 1 and machine.node_link is not None:
        network = machine.node_link.bytes_per_second
        alone = rate is None and len(devices) == 1
        within = None if alone else _link(machine, rate)
        rate = min(within or network, network)
    return replace(
        machine, devices=devices, link_bytes_per_second=rate, within_bytes_per_second=within
    )


def _link(machine: Machine, rate: float | None) -> float:
    """Bytes per second between GPUs of one machine; those of its kind where they are not known."""
    return rate or LINK_BYTES_PER_SECOND[machine.link or LinkType.PCIE]


def device_groups(machine: Machine, world_size: int) -> list[tuple[int, ...]]:
    """Sets of ``world_size`` GPUs that can be best, as positions; of equal cards the emptiest.

    A set is judged by its worst card in each trait and by its least free memory. For every
    combination of worst values, the set with the most free memory consists of the emptiest cards
    that are at least that good. So no other set can beat all of the sets returned.
    """
    positions = range(len(machine.devices))
    found: dict[tuple[int, ...], None] = {}
    for pool in _pools(machine):
        emptiest = sorted(
            (place for place in positions if pool(machine.devices[place])),
            # The position decides between equally empty cards, so that plans are deterministic.
            key=lambda place: (-machine.devices[place].free_bytes, place),
        )
        if len(emptiest) >= world_size:
            found[tuple(sorted(emptiest[:world_size]))] = None
    return list(found)


def _pools(machine: Machine) -> Iterator[Callable[[Device], bool]]:
    """A test of a card for every combination of lower limits on its traits, the strictest last."""
    levels = [sorted({trait(device) for device in machine.devices}) for trait in TRAITS]
    for limits in product(*levels):
        yield lambda device, limits=limits: all(  # type: ignore[misc]
            trait(device) >= limit for trait, limit in zip(TRAITS, limits, strict=True)
        )


def positions_for(group: tuple[int, ...]) -> tuple[int, ...]:
    """The group as settings name it: empty for the first GPUs of a machine, the default."""
    return () if group == tuple(range(len(group))) else group


def device_notes(machine: Machine, hardware: HardwareSettings) -> list[str]:
    """Notes for a plan whose GPUs differ, or that leaves GPUs of the machine unused."""
    used = used_devices(machine, hardware)
    notes = []
    if len({device.name for device in machine.devices}) > 1 and len(used) < len(machine.devices):
        names = _counted(used)
        notes.append(f"uses {names} of {_counted(machine.devices)}")
    if hardware.streaming.differs:
        slowest = min(used, key=TRAITS[0])
        notes.append(
            "the GPUs differ: each streams as many layers as its own memory asks for, and speed is "
            f"that of the slowest ({slowest.name}) with the most layers"
        )
    elif len({(device.name, device.free_bytes) for device in used}) > 1:
        fullest = min(used, key=lambda device: device.free_bytes)
        slowest = min(used, key=TRAITS[0])
        free = f"{fullest.free_bytes / 2**30:.1f} GiB"
        notes.append(
            f"the GPUs differ: free memory is that of the fullest ({fullest.name}, {free})"
            + (f", speed that of the slowest ({slowest.name})" if _differ(used) else "")
        )
    return notes


def _differ(devices: tuple[Device, ...]) -> bool:
    return len({device.name for device in devices}) > 1


def _counted(devices: tuple[Device, ...]) -> str:
    """The GPUs by name, for example ``2x H200 + 1x RTX 3090``."""
    names = [device.name for device in devices]
    return " + ".join(f"{names.count(name)}x {name}" for name in dict.fromkeys(names))
