"""The part of a plan that every launcher needs: machines, processes and the launch command."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from memory_models.frozen import frozen
from memory_models.result import Interval
from memory_models.settings import BatchLayout, changed
from memory_models.units import GIB, counted, divisors
from tsplanner import __version__
from tsplanner.console import visible
from tsplanner.errors import TsplannerError
from tsplanner.exporters.rows.form import RowsAs
from tsplanner.exporters.rows.written import RowsWritten
from tsplanner.planner.devices import device_notes, used_devices
from tsplanner.planner.explain.sentences import describe
from tsplanner.planner.plan import Plan, Verdict

JOB_FILE = "job.json"
WORKER = ("-m", "tsplanner.training.worker", JOB_FILE)
TRIED_GPUS = 2
"""Largest number of GPUs on which tsplanner itself was run."""


class ExportFile(NamedTuple):
    """A file to write, by its bare name."""

    name: str
    text: str


@frozen
class ExportOptions:
    """Options of an export that are not part of the plan."""

    nodes: int = 1
    """Number of machines like the plan's; the effective batch stays as planned."""
    time_limit_seconds: float | None = None
    """Wall time to ask a queue for; None: the plan's forecast decides."""
    command: tuple[str, ...] = WORKER
    """Command that torchrun starts in each process."""
    weights: str | None = None
    """Folder or hub id of the weights, for a plan whose model has none next to its config."""
    rows: RowsAs = RowsAs.TOKENS
    """Form of the rows for another project's trainer."""
    template: str | None = None
    """Chat template by the trainer's name for it; None: the model's family decides."""
    output_dir: str = "output"
    """Folder that another project's trainer writes to."""
    repacked: bool = False
    """The plan packs rows, which another project's trainer pads."""
    force: bool = False
    """Export for another project's trainer even if the plan does not fit there."""


Render = Callable[[Plan, ExportOptions], list[ExportFile]]
Notes = Callable[[Plan, ExportOptions], list[str]]


def no_notes(plan: Plan, options: ExportOptions) -> list[str]:
    """No notes: an empty list for exporters that have nothing to add."""
    return []


@frozen
class Room:
    """Whether a plan fits under another project's trainer."""

    trainer: str
    verdict: Verdict
    process_bytes: Interval
    """Bytes per process under that trainer."""
    free_bytes: int

    @property
    def figures(self) -> str:
        """The three sizes that the verdict compares."""
        needed = self.process_bytes
        return (
            f"{needed.expected / GIB:.1f} GiB expected, {needed.upper / GIB:.1f} GiB at most "
            f"(95 %), {self.free_bytes / GIB:.1f} GiB free"
        )


@frozen
class Exporter:
    """One launcher or trainer."""

    summary: str
    files: Render
    """Renders the files of a plan that `spread` returned: its world size counts all machines."""
    start: str
    """Command that starts the written files; ``{folder}`` stands for the quoted folder."""
    by_hand: str = ""
    """Variables in front of the command if each of several machines is started by hand."""
    room: Callable[[Plan], Room] | None = None
    """Whether a plan fits under another project's trainer; None: no such trainer runs it."""
    rows: Callable[[Plan, Path, RowsAs], RowsWritten] | None = None
    """Writes the rows for another project's trainer into a folder; None: no such trainer runs."""
    notes: Notes = no_notes
    """Notes for a person before the start."""

    @property
    def trains(self) -> bool:
        """Whether another project's trainer runs the plan, without our job or a user's command."""
        return self.room is not None


def spread(plan: Plan, nodes: int) -> Plan:
    """The plan with the same learning settings on ``nodes`` machines like the plan's.

    Accumulation shrinks so that the effective batch stays. If accumulation does not divide, the
    micro-batch shrinks too, which needs no more memory. ``world_size`` counts the processes of all
    machines.

    Raises:
        TsplannerError: the effective batch does not divide, or the plan is for a CPU.
    """
    hardware = plan.hardware
    if nodes == hardware.sharding.nodes:
        return plan
    if hardware.accelerator == "cpu":
        raise TsplannerError("A plan for the CPU runs in one process: leave out --nodes.")
    processes = nodes * hardware.sharding.processes_per_node
    share, rest = divmod(hardware.effective_batch_size, processes)
    if rest or not share:
        raise TsplannerError(
            f"An effective batch of {hardware.effective_batch_size} cannot be shared by "
            f"{processes} processes: give other --nodes, or plan again with another "
            "--effective-batch."
        )
    micro = max(divisors(share, hardware.batch.micro_batch_size))
    return replace(
        plan,
        hardware=changed(
            hardware,
            world_size=processes,
            nodes=nodes,
            micro_batch_size=micro,
            gradient_accumulation_steps=share // micro,
        ),
        assumptions=(
            *plan.assumptions,
            f"planned for {counted(hardware.sharding.nodes, 'machine')}, started on {nodes}",
        ),
    )


def processes_per_node(plan: Plan, options: ExportOptions) -> int:
    """Number of processes on each machine."""
    return plan.hardware.sharding.world_size // options.nodes


def header(plan: Plan, options: ExportOptions) -> list[str]:
    """Comment lines without ``#`` that say what runs and what was never tried."""
    hardware = plan.hardware
    lines = [
        f"tsplanner {__version__}: {plan.model.name}, "
        f"{plan.learning.method.finetuning_type} on {describe(hardware)}",
        f"{_layout_words(hardware.batch)} x {hardware.sharding.world_size} "
        f"process{'es' if hardware.sharding.world_size > 1 else ''} = effective batch "
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
    """The lines without line breaks, since a break in a name would end the comment.

    Control characters are spelt out: a YAML reader refuses a file with one, even in a comment.
    """
    return [visible(" ".join(line.split())) for line in lines]


def comments(lines: list[str]) -> str:
    """The lines as comments of a shell script or of YAML."""
    return "".join(f"# {line}\n" for line in one_line(lines))


def torchrun_words(plan: Plan, options: ExportOptions, *, rendezvous: str | None = None) -> str:
    """The torchrun command of one machine.

    ``rendezvous``: further options for several machines, already quoted for the shell.
    """
    where = "--standalone" if rendezvous is None else f"--nnodes {options.nodes} {rendezvous}"
    processes = processes_per_node(plan, options)
    return f"torchrun {where} --nproc-per-node {processes} {shlex.join(options.command)}"


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
    """Shell lines that show torch only the plan's GPUs, unless the caller has chosen others.

    A UUID names a card of this machine alone. Several machines get positions, which are the same on
    every machine of one kind.
    """
    hardware = plan.hardware
    if not hardware.devices:
        return ""
    names = [device.uuid for device in used_devices(plan.machine, hardware)]
    if options.nodes > 1 or not all(names):
        names = [str(place) for place in hardware.devices]
    # The plan counts cards as NVML does, and CUDA does so only in this order.
    return (
        "export CUDA_DEVICE_ORDER=PCI_BUS_ID\n"
        f"planned={shlex.quote(','.join(name for name in names if name))}\n"
        'export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-$planned}"\n'
    )


def torchrun_script(plan: Plan, options: ExportOptions) -> ExportFile:
    """run.sh, which starts all processes of one machine; a person starts it on each machine."""
    if options.nodes == 1:
        body = f"exec {torchrun_words(plan, options)}\n"
        return ExportFile("run.sh", script(plan, options, body))
    ask = ': "${RDZV_ENDPOINT:?name host:port of the first machine, the same on every machine}"\n'
    rendezvous = (
        '--rdzv-backend c10d --rdzv-id "${RDZV_ID:-tsplanner}" --rdzv-endpoint "$RDZV_ENDPOINT"'
    )
    body = f"{ask}exec {torchrun_words(plan, options, rendezvous=rendezvous)}\n"
    return ExportFile("run.sh", script(plan, options, body))


def _layout_words(batch: BatchLayout) -> str:
    """How the rows of a process go through the model."""
    rows = batch.gradient_accumulation_steps
    if batch.is_packed:
        return f"packed up to {batch.token_budget} positions, {counted(rows, 'row')}"
    return f"micro-batch {batch.micro_batch_size} x accumulation {rows}"
