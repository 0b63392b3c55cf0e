"""Slurm: a batch file that asks for machines and time and starts torchrun once on each."""

from __future__ import annotations

from math import ceil

from memory_models.units import GIB
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import (
    ExportFile,
    ExportOptions,
    comments,
    header,
    processes_per_node,
    torchrun_words,
)
from tsplanner.planner.plan import Plan
from tsplanner.runs import slug

CPUS_PER_PROCESS = 4
"""Cores to ask for per process, which runs Python, the autograd thread and the data loader."""
LOAD_SECONDS = 1800
"""Allowance for time that is not in the forecast: imports, and weights from a network disk."""
ROUNDING_SECONDS = 600
SUBMIT = "Submit with sbatch --chdir and this file's folder, which all machines must share."
RENDEZVOUS = '--rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "${hosts[0]}:$port"'
# Two jobs may share a machine, so the port depends on the job's number.
HEAD = """mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((29000 + SLURM_JOB_ID % 1000))
"""


def files(plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """train.sbatch.

    Raises:
        TsplannerError: the length of the run is not known and no limit is given.
    """
    words = torchrun_words(plan, options, rendezvous=RENDEZVOUS)
    text = (
        "#!/usr/bin/env bash\n"
        + "".join(f"#SBATCH --{key}={value}\n" for key, value in directives(plan, options).items())
        + comments([*header(plan, options), SUBMIT])
        + "set -euo pipefail\n"
        + HEAD
        # When one machine fails, the others may wait for it in a collective until the time limit.
        + f"srun --kill-on-bad-exit=1 {words}\n"
    )
    return [ExportFile("train.sbatch", text)]


def directives(plan: Plan, options: ExportOptions) -> dict[str, str | int]:
    """The ``#SBATCH`` options; gpus, tasks, cores and memory are per machine."""
    processes = processes_per_node(plan, options)
    found: dict[str, str | int] = {
        "job-name": slug(plan.model.name),
        "nodes": options.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": CPUS_PER_PROCESS * processes,
        "mem": f"{ceil(_host_bytes(plan) / GIB)}G",
        "time": slurm_time(limit_seconds(plan, options)),
        "output": "slurm-%j.log",
    }
    if plan.hardware.accelerator == "cuda":
        found["gpus-per-node"] = processes
    return found


def _host_bytes(plan: Plan) -> int:
    """Upper bound of the bytes in RAM of all processes on one machine, from the plan."""
    memory = plan.memory
    cpu = plan.hardware.accelerator == "cpu"
    return (memory.process_bytes if cpu else memory.host_bytes).upper


def limit_seconds(plan: Plan, options: ExportOptions) -> float:
    """Seconds to ask for: the forecast's upper bound and an allowance for loading.

    More machines do not shorten the limit, because their traffic is not in the forecast.

    Raises:
        TsplannerError: without a dataset the length of the run is not known.
    """
    if options.time_limit_seconds is not None:
        return options.time_limit_seconds
    if plan.dataset.path is None:
        raise TsplannerError(
            "The plan names no dataset, so the length of the run is not known: give --time-limit, "
            "or plan again with --dataset FILE."
        )
    return plan.time.total_seconds + plan.time.total_margin + LOAD_SECONDS


def slurm_time(seconds: float) -> str:
    """A time in Slurm's form D-HH:MM:SS, rounded up to ten minutes."""
    minutes = ceil(seconds / ROUNDING_SECONDS) * ROUNDING_SECONDS // 60
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}-{hours % 24:02}:{minutes:02}:00"
