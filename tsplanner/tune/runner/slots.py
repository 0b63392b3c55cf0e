"""How many workers run trials at once, and on which GPUs."""

from __future__ import annotations

from dataclasses import field

from memory_models.device import Device, Machine
from memory_models.frozen import frozen
from tsplanner.planner.plan import Plan
from tsplanner.probe.launch import VISIBLE, visible_name, worker_devices
from tsplanner.probe.preflight import free_now, promised


@frozen
class Slots:
    """Places for workers that run side by side; each runs one trial, or several on one base."""

    jobs: int
    """Number of slots."""
    threads: int | None = None
    """CPU threads of each process of a trial; None: torch's own choice."""
    devices: tuple[str, ...] = ()
    """GPUs to spread the slots over, as CUDA_VISIBLE_DEVICES names them; empty: the plan's own."""
    free_bytes: int | None = field(default=None, compare=False)
    """Free bytes of the fullest of these GPUs; None: as the plan says."""

    @property
    def trials_per_device(self) -> int:
        """Largest number of slots that share one GPU (or the CPU's memory)."""
        return -(-self.jobs // max(1, len(self.devices)))

    def environment(self, slot: int) -> dict[str, str] | None:
        """Environment that shows a slot its GPU; None: the plan's own."""
        if not self.devices:
            return None
        return {VISIBLE: self.devices[slot % len(self.devices)]}


def choose_slots(
    plan: Plan,
    *,
    here: Machine | None = None,
    jobs: int | None = None,
    trials: int,
    shares_base: bool = False,
) -> Slots:
    """One slot per GPU; on a CPU one per core, as far as memory goes, with equal threads,
    unless the plan says how many threads a process has.

    A trial of several processes has the machine to itself, and so have trials that share a base
    (``shares_base``) on a CPU. ``here`` is the machine as it is now (None: as it was planned for).
    """
    here, hardware = here or plan.machine, plan.hardware
    on_cpu, cores = hardware.accelerator == "cpu", plan.machine.host.cpu_count
    given = hardware.cpu_threads
    if hardware.sharding.world_size > 1:
        share = max(1, cores // hardware.sharding.world_size)
        return Slots(jobs=1, threads=given or (share if on_cpu else None))
    if on_cpu:
        affordable = free_now(plan, here) // max(1, plan.memory.process_bytes.upper)
        # At least one trial runs: preflight asked for the plan's room before,
        # and --force overrules it.
        most = min(max(1, cores // (given or 1)), trials, max(1, affordable))
        count = jobs or (1 if shares_base else most)
        return Slots(jobs=count, threads=given or max(1, cores // count))
    gpus = alike(plan, here)
    affordable = here.host.available_bytes // max(1, plan.memory.host_bytes.upper)
    count = jobs or min(max(1, len(gpus)), max(1, affordable))
    if len(gpus) < 2:
        return Slots(jobs=min(count, trials), threads=given)
    used = [device for device in here.devices if device.uuid in gpus] or here.devices
    least = min(device.free_bytes for device in used)
    return Slots(jobs=min(count, trials), threads=given, devices=gpus, free_bytes=least)


def alike(plan: Plan, here: Machine) -> tuple[str, ...]:
    """GPUs that can stand in for the plan's one, that one first: of its kind, and empty enough."""
    planned = worker_devices(plan, here)
    if not planned:
        return ()
    first, needed = planned[0], promised(plan.memory.process_bytes, plan.free_bytes)
    others = [
        position
        for position, device in enumerate(here.devices)
        if device is not first and _kind(device) == _kind(first) and device.free_bytes >= needed
    ]
    positions = [next(i for i, device in enumerate(here.devices) if device is first), *others]
    return tuple(here.devices[i].uuid or visible_name(i) for i in positions)


def _kind(device: Device) -> tuple[object, ...]:
    return device.name, device.compute_capability, device.total_bytes, device.mig
