"""How a plan's worker is started: one process, or one a GPU under torchrun, on which GPUs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from memory_models.device import Device, Machine
from tsplanner.errors import TsplannerError
from tsplanner.planner.devices import used_devices
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings

WORKER = "tsplanner.training.worker"
VISIBLE = "CUDA_VISIBLE_DEVICES"


def worker_command(hardware: HardwareSettings, arguments: Sequence[str]) -> list[str]:
    """The command that runs the worker with these arguments on all ranks of one machine.

    torchrun ends all ranks when one of them ends badly; it never starts them again, for a run
    resumes from its checkpoint instead.
    """
    if hardware.sharding.world_size == 1:
        return [sys.executable, "-m", WORKER, *arguments]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", "0"]
    count = ["--nproc-per-node", str(hardware.sharding.world_size)]
    return [sys.executable, *launcher, *count, "-m", WORKER, *arguments]


def device_environment(plan: Plan, outside: Mapping[str, str] | None = None) -> dict[str, str]:
    """CUDA_VISIBLE_DEVICES that leaves a plan the GPUs it was made for; empty on a CPU.

    One process must not see more GPUs than it uses: Trainer would spread its batches over all of
    them. ``outside``: the environment that the worker would inherit.
    """
    if plan.hardware.accelerator == "cpu":
        return {}
    uuids = planned_uuids(plan)
    names = uuids or [visible_name(place, outside) for place in planned_positions(plan.hardware)]
    return {VISIBLE: ",".join(names)}


def planned_uuids(plan: Plan) -> list[str]:
    """UUIDs of the GPUs that were picked of several; empty where any will do or none is known.

    A plan for all GPUs of its machine goes by their order, so that it runs on a twin, too.
    """
    used = used_devices(plan.machine, plan.hardware)
    picked = plan.machine.detected and len(used) < len(plan.machine.devices)
    known = [device.uuid for device in used if device.uuid]
    return known if picked and len(known) == len(used) else []


def planned_positions(hardware: HardwareSettings) -> tuple[int, ...]:
    """Positions of a plan's GPUs among those that are visible."""
    return hardware.devices or tuple(range(hardware.sharding.world_size))


def visible_name(position: int, outside: Mapping[str, str] | None = None) -> str:
    """How CUDA_VISIBLE_DEVICES names the GPU at a position among those visible from outside."""
    # A plan counts the GPUs that it saw, but a child's variable counts all GPUs of the host.
    value = (os.environ if outside is None else outside).get(VISIBLE)
    names = [name.strip() for name in value.split(",")] if value else []
    return names[position] if position < len(names) else str(position)


def worker_devices(plan: Plan, here: Machine) -> tuple[Device, ...]:
    """The GPUs of this machine that the plan's ranks would get, as they are now.

    Empty on a CPU and where the driver says nothing. Raises TsplannerError if one is not here.
    """
    if plan.hardware.accelerator == "cpu" or not here.devices:
        return ()
    if uuids := planned_uuids(plan):
        by_uuid = {device.uuid: device for device in here.devices}
        gone = [uuid for uuid in uuids if uuid not in by_uuid]
        if gone:
            raise TsplannerError(
                f"The plan's GPU {gone[0]} is not visible here: look at {VISIBLE}, or make a plan "
                "for the GPUs that are here with tsplanner plan."
            )
        return tuple(by_uuid[uuid] for uuid in uuids)
    places = planned_positions(plan.hardware)
    if max(places) >= len(here.devices):
        raise TsplannerError(
            f"The plan uses GPU {max(places)} (counted from 0) and {len(here.devices)} are "
            f"visible here: look at {VISIBLE}, or make another plan with tsplanner plan."
        )
    return tuple(here.devices[place] for place in places)


SMALL_MODEL_PARAMETERS = 20_000_000
"""Below this size a second CPU thread costs more than it does: at 2.3 million parameters a step
takes 1.6 s with two threads and 1.2 s with one."""


def cpu_threads(plan: Plan) -> int | None:
    """Threads of each process of a run that has the machine to itself; None: torch's own choice.

    What the plan says counts; without a word of it, the cores of a CPU run are shared out.
    """
    if plan.hardware.cpu_threads is not None:
        return plan.hardware.cpu_threads
    if plan.hardware.accelerator != "cpu":
        return None
    small = plan.model.parameters_total < SMALL_MODEL_PARAMETERS
    return 1 if small else max(1, plan.machine.host.cpu_count // plan.hardware.sharding.world_size)
