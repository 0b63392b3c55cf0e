"""How a plan's worker is started: one process, or one a GPU under torchrun."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tsplanner.planner.devices import used_devices
from tsplanner.planner.plan import HardwareSettings, Plan

WORKER = "tsplanner.training.worker"


def worker_command(hardware: HardwareSettings, job_files: Sequence[str]) -> list[str]:
    """The command that runs these jobs on all ranks of one machine.

    torchrun ends all ranks when one of them ends badly; it never starts them again, for a run
    resumes from its checkpoint instead.
    """
    if hardware.world_size == 1:
        return [sys.executable, "-m", WORKER, *job_files]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", "0"]
    count = ["--nproc-per-node", str(hardware.world_size)]
    return [sys.executable, *launcher, *count, "-m", WORKER, *job_files]


def device_environment(plan: Plan) -> dict[str, str]:
    """CUDA_VISIBLE_DEVICES that leaves a plan the GPUs it was made for.

    Empty where the plan uses all of the machine's GPUs, or where they are not known by UUID.
    """
    used = used_devices(plan.machine, plan.hardware)
    known = plan.machine.detected and all(device.uuid for device in used)
    if not known or len(used) == len(plan.machine.devices):
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(device.uuid) for device in used)}
