"""What every launcher is told of a plan: machines, ranks, and the words that start one rank."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from memory_models.settings import changed
from tsplanner import __version__
from tsplanner.datasets.rows.first_rows import RowsSeen
from tsplanner.errors import TsplannerError
from tsplanner.planner.devices import device_notes, used_devices
from tsplanner.planner.plan import Plan
from tsplanner.planner.sentences import describe

JOB_FILE = "job.json"
WORKER = ("-m", "tsplanner.training.worker", JOB_FILE)
TRIED_GPUS = 2
"""Most GPUs that tsplanner itself was run on at once."""


class ExportFile(NamedTuple):
    """A file to write, by its bare name."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What a launcher is asked for beside the plan."""

    nodes: int = 1
    """Machines like the plan's; the effective batch stays as planned."""
    time_limit_seconds: float | None = None
    """Wall time to ask a queue for; None: from the plan's forecast."""
    command: tuple[str, ...] = WORKER
    """Words that torchrun starts on each rank."""
    weights: str | None = None
    """Folder or hub id of the weights, where the plan's model has none beside its config."""
    rows: RowsSeen | None = None
    """What the plan's dataset looks like; None: it names none."""
    template: str | None = None
    """Chat template by the trainer's own name; None: by the model's family."""
    output_dir: str = "output"
    """Where another project's trainer writes."""
    force: bool = False
    """Export for another project's trainer what would not fit under it."""


Render = Callable[[Plan, ExportOptions], list[ExportFile]]
Notes = Callable[[Plan, ExportOptions], list[str]]


def no_notes(plan: Plan, options: ExportOptions) -> list[str]:
    """Nothing to say beside the files."""
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """One launcher."""

    summary: str
    files: Render
    """Takes a plan as `spread` leaves it: its ranks are those of all machines together."""
    start: str
    """Command that starts what was written; ``{folder}`` stands for the quoted folder."""
    by_hand: str = ""
    """Set before it where each of several machines is started by hand."""
    trains: bool = False
    """Another project's trainer runs the plan: no job of ours, no command of the user's."""
    notes: Notes = no_notes
    """What a person should know before starting it."""


def spread(plan: Plan, nodes: int) -> Plan:
    """The same learning settings on ``nodes`` machines like the plan's.

    Accumulation shrinks so that the effective batch stays; where it does not divide, micro-batches
    shrink too, which needs no more memory. ``world_size`` counts the ranks of all machines.

    Raises:
        TsplannerError: the effective batch cannot be shared out, or the plan is for a CPU.
    """
    if nodes == 1:
        return plan
    hardware = plan.hardware
    if hardware.accelerator == "cpu":
        raise TsplannerError("A plan for the CPU runs in one process: leave out --nodes.")
    ranks = nodes * hardware.sharding.world_size
    share, rest = divmod(hardware.effective_batch_size, ranks)
    if rest or not share:
        raise TsplannerError(
            f"An effective batch of {hardware.effective_batch_size} cannot be shared by {ranks} "
            f"ranks: give other --nodes, or plan again with another --effective-batch."
        )
    micro = max(size for size in range(1, hardware.batch.micro_batch_size + 1) if share % size == 0)
    return replace(
        plan,
        hardware=changed(
            hardware,
            world_size=ranks,
            micro_batch_size=micro,
            gradient_accumulation_steps=share // micro,
        ),
        assumptions=(*plan.assumptions, f"planned for one machine, started on {nodes}"),
    )


def processes_per_node(plan: Plan, options: ExportOptions) -> int:
    """Ranks of each machine."""
    return plan.hardware.sharding.world_size // options.nodes


def header(plan: Plan, options: ExportOptions) -> list[str]:
    """Comment lines without their mark: what runs, and what was never tried."""
    hardware = plan.hardware
    lines = [
        f"tsplanner {__version__}: {plan.model.name}, "
        f"{plan.learning.method.finetuning_type} on {describe(hardware)}",
        f"micro-batch {hardware.batch.micro_batch_size} x accumulation "
        f"{hardware.batch.gradient_accumulation_steps} x {hardware.sharding.world_size} "
        f"rank{'s' if hardware.sharding.world_size > 1 else ''} = effective batch "
        f"{hardware.effective_batch_size}",
    ]
    if options.nodes > 1 or hardware.sharding.world_size > TRIED_GPUS:
        lines.append(
            f"Planned by formula: tsplanner itself was run on at most {TRIED_GPUS} GPUs of one "
            "machine."
        )
    lines += device_notes(plan.machine, hardware)
    return one_line(lines)


def one_line(lines: list[str]) -> list[str]:
    """Each on one line: a line break in a name from a folder or a file would end its comment."""
    return [" ".join(line.split()) for line in lines]


def comments(lines: list[str]) -> str:
    """The lines as comments of a shell script or of YAML."""
    return "".join(f"# {line}\n" for line in lines)


def torchrun_words(plan: Plan, options: ExportOptions, *, rendezvous: str | None = None) -> str:
    """The torchrun command of one machine.

    ``rendezvous``: further words for several machines, quoted for the shell already.
    """
    where = "--standalone" if rendezvous is None else f"--nnodes {options.nodes} {rendezvous}"
    ranks = processes_per_node(plan, options)
    return f"torchrun {where} --nproc-per-node {ranks} {shlex.join(options.command)}"


def script(plan: Plan, options: ExportOptions, body: str) -> str:
    """A bash script that runs ``body`` in its own folder."""
    return (
        "#!/usr/bin/env bash\n"
        + comments(header(plan, options))
        + "set -euo pipefail\n"
        + 'cd -- "$(dirname -- "${BASH_SOURCE[0]}")"\n'
        + _visible(plan, options)
        + body
    )


def _visible(plan: Plan, options: ExportOptions) -> str:
    """Show torch only the GPUs of the plan, unless the caller chose others.

    Positions mean the same on every machine of a kind, a card's own number only on this one.
    """
    hardware = plan.hardware
    if not hardware.devices:
        return ""
    names = [device.uuid for device in used_devices(plan.machine, hardware)]
    if options.nodes > 1 or not all(names):
        names = [str(place) for place in hardware.devices]
    return (
        "export CUDA_DEVICE_ORDER=PCI_BUS_ID\n"
        f"planned={shlex.quote(','.join(name for name in names if name))}\n"
        'export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-$planned}"\n'
    )


def torchrun_script(plan: Plan, options: ExportOptions) -> ExportFile:
    """run.sh: all ranks of this machine; of several machines, to be started on each."""
    if options.nodes == 1:
        body = f"exec {torchrun_words(plan, options)}\n"
        return ExportFile("run.sh", script(plan, options, body))
    ask = ': "${RDZV_ENDPOINT:?name host:port of the first machine, the same on every machine}"\n'
    rendezvous = (
        '--rdzv-backend c10d --rdzv-id "${RDZV_ID:-tsplanner}" --rdzv-endpoint "$RDZV_ENDPOINT"'
    )
    body = f"{ask}exec {torchrun_words(plan, options, rendezvous=rendezvous)}\n"
    return ExportFile("run.sh", script(plan, options, body))
