"""Is what a plan was made with still there and free? Asked before a worker is started.

A plan is a promise about the memory that was free and the files that were read when it was made.
Since then another process may have filled a GPU, the host's limit may be another, or somebody
edited the dataset; a sentence now is better than a crash or a wrong run later.
"""

from __future__ import annotations

from functools import partial

from memory_models.device import Device, Machine
from memory_models.result import Interval
from memory_models.units import format_gib
from tsplanner.console import command
from tsplanner.errors import TsplannerError
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.files import model_word
from tsplanner.planner.gather.inputs import changes
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.planner.replan import needs_of_processes, own_process
from tsplanner.probe.launch import planned_positions, worker_devices

ADVICE = "make another plan with tsplanner plan, or go on all the same with --force"
_gib = partial(format_gib, digits=1)


def require_room(plan: Plan, here: Machine | None = None, *, force: bool = False) -> Machine:
    """This machine as it is now, once it is known to have room and the files for the plan.

    ``here`` stands in for this machine; with ``force`` too little memory and changed files are no
    reason to stop. Raises TsplannerError for files that are others than the plan read, a GPU that
    is too full, a host without the memory, and (whatever ``force`` says) a GPU that is not here.
    """
    refuse_several_machines(plan)
    if not force:
        refuse_what_changed(plan)
    here = detect_machine() if here is None else here
    refuse_without_gpu(plan, here)
    shortage = device_shortage(plan, here) or host_shortage(plan, here)
    if shortage and not force:
        raise TsplannerError(shortage)
    return here


def refuse_without_gpu(plan: Plan, here: Machine) -> None:
    """Raise TsplannerError for a plan for GPUs on a machine where no program can use one."""
    if plan.hardware.accelerator == "cpu" or here.devices:
        return
    from tsplanner.hardware.nvml import no_gpu_reason

    reason = no_gpu_reason()
    if reason is not None:
        raise TsplannerError(
            f"The plan is for {plan.machine.name}, and this machine has no GPU to use ({reason}): "
            "copy plan.json to that machine, write a job for it with tsplanner export, or plan for "
            "this machine with tsplanner plan."
        )


def refuse_several_machines(plan: Plan) -> None:
    """Raise TsplannerError for a plan for several machines, which one of them cannot start."""
    nodes = plan.hardware.sharding.nodes
    if nodes > 1:
        raise TsplannerError(
            f"The plan is for {nodes} machines: write a job that each of them starts with "
            f"{command('export', 'torchrun')} (or accelerate, sbatch), or plan without --nodes to "
            "probe one machine."
        )


def refuse_without_rows(plan: Plan) -> None:
    """Raise TsplannerError for a plan that names no dataset, where one is trained on."""
    if plan.dataset.path is None:
        raise TsplannerError(
            "The plan names no dataset, so there is nothing to train on: plan again with "
            f"{command('plan', '--model', model_word(plan.model), '--dataset', 'FILE')}."
        )


def refuse_what_cannot_fit(plan: Plan) -> None:
    """Raise TsplannerError for a plan whose verdict is that it does not fit."""
    if plan.verdict is Verdict.DOES_NOT_FIT:
        raise TsplannerError(
            f"The plan needs {plan.memory.process_bytes.expected / 2**30:.1f} GiB and "
            f"{plan.free_bytes / 2**30:.1f} GiB are free: make another with tsplanner plan."
        )


def refuse_what_changed(plan: Plan) -> None:
    """Raise TsplannerError if the model or the dataset is another than when the plan was made.

    A plan's steps, lengths and memory are those of the rows that it read.
    """
    if found := list(changes(plan)):
        raise TsplannerError(
            f"Since the plan was made {'; '.join(found)}: plan again, or go on all the same with "
            "--force."
        )


def refuse_random_weights(plan: Plan, *, allowed: bool = False) -> None:
    """Raise TsplannerError for a plan that would train from random weights, unless allowed to.

    The loss of such a run falls like any other, and nothing that it learned is worth keeping.
    """
    why = plan.model.without_weights
    if why is not None and not allowed:
        raise TsplannerError(
            f"{plan.model.name} would be trained from random weights, for {why}: plan again with "
            "a folder that has them, or add --random-weights where that is meant."
        )


def refuse_what_has_no_room(
    plan: Plan,
    here: Machine | None = None,
    *,
    force: bool = False,
    random_weights: bool = False,
) -> Machine:
    """This machine as it is now; ``here`` stands in for it.

    Raises TsplannerError for a plan without a dataset or without weights (unless ``random_weights``
    are meant), one that does not fit, one whose files changed, or one that would not fit now
    because another process holds the memory. With ``force`` too little memory and changed files are
    no reason to stop.
    """
    refuse_without_rows(plan)
    refuse_random_weights(plan, allowed=random_weights)
    if not force:
        refuse_what_cannot_fit(plan)
    return require_room(plan, here, force=force)


def free_now(plan: Plan, here: Machine) -> int:
    """Bytes a plan may count on: what it was made with, or less if less is free now."""
    if plan.hardware.accelerator == "cpu":
        return min(plan.free_bytes, here.host.available_bytes)
    used, own = worker_devices(plan, here), own_process(plan)
    used = used if own is None else used[own : own + 1]
    return min([plan.free_bytes, *(device.free_bytes for device in used)])


def promised(needed: Interval, free_then: int) -> int:
    """Bytes that must be free: the upper bound, or what is expected where more never was free."""
    return needed.upper if needed.upper <= free_then else needed.expected


def device_shortage(plan: Plan, here: Machine) -> str | None:
    """One sentence on a GPU of the plan that is too full now; None if all have room."""
    needs = needs_of_processes(plan)
    for place, device in enumerate(worker_devices(plan, here)):
        own = needs[place % len(needs)]
        needed = promised(own.memory.process_bytes, own.free_bytes)
        if device.free_bytes < needed:
            number = planned_positions(plan.hardware)[place]
            return (
                f"GPU {number} ({device.name}) has {_gib(device.free_bytes)} GiB free and the plan "
                f"needs {_gib(needed)} (it was made with {_gib(own.free_bytes)} free): end what "
                f"uses it{holders(device)}, {ADVICE}."
            )
    return None


def host_shortage(plan: Plan, here: Machine) -> str | None:
    """One sentence on host memory that is not there now; None if there is enough."""
    on_cpu = plan.hardware.accelerator == "cpu"
    needed, then = (
        (plan.memory.process_bytes, plan.free_bytes)
        if on_cpu
        else (plan.memory.host_bytes, plan.machine.host.available_bytes)
    )
    wanted, host = promised(needed, then), here.host
    if host.available_bytes >= wanted:
        return None
    limit = "" if host.memory_limited_by == "host" else f", limited by {host.memory_limited_by}"
    return (
        f"The machine has {_gib(host.available_bytes)} of {_gib(host.total_bytes)} GiB of RAM "
        f"free{limit}, and the plan needs {_gib(wanted)} (it was made with {_gib(then)} free): end "
        f"what uses it, {ADVICE}."
    )


def holders(device: Device) -> str:
    """The processes on a GPU, the largest first, in brackets; empty where none is known."""
    ranked = sorted(device.processes, key=lambda process: -(process.used_bytes or 0))
    words = [
        f"{process.name} {process.pid}"
        + (f": {_gib(process.used_bytes)} GiB" if process.used_bytes else "")
        for process in ranked[:3]
    ]
    return f" ({', '.join(words)})" if words else ""
