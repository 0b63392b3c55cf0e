"""The warm server that trials fork from."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from tsplanner.planner.plan import Plan
from tsplanner.planner.space.rules import BITSANDBYTES_OPTIMIZERS
from tsplanner.processes import SERVER_COMMAND, WarmServer

SERVER_LOG = "server.log"
"""In a run's folder: what the server of the leader says."""


def server_for(plan: Plan, folder: Path, log: str = SERVER_LOG) -> WarmServer | nullcontext[None]:
    """A warm server for trials of one process; torchrun starts trials of several processes."""
    if plan.hardware.sharding.world_size > 1:
        return nullcontext()
    return WarmServer(server_command(plan), log_path=folder / log)


def server_command(plan: Plan) -> tuple[str, ...]:
    """The command of the warm server.

    The server hides libraries that start CUDA when they are imported, unless the plan needs them:
    with such a library in sight every trial pays for its own imports.
    """
    hardware = plan.hardware
    bitsandbytes = (
        hardware.base.needs_bitsandbytes or hardware.kernels.optimizer in BITSANDBYTES_OPTIMIZERS
    )
    if hardware.accelerator == "cpu" or bitsandbytes or hardware.sharding.zero_stage:
        return SERVER_COMMAND
    return (*SERVER_COMMAND, "--without", "bitsandbytes,deepspeed")
