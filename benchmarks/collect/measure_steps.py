"""Time real training steps, every case alone on its GPU; memory comes along.

    python benchmarks/collect/measure_steps.py --cases FILE.jsonl --output DIR --minutes 9

Cases that stand on the same base share a worker, which loads it once; workers are forked from a
process that has imported the libraries. Several GPUs work on several bases at once. Steps are those
of ``tsplanner probe`` (same worker, same allocator settings), so a case runs at most four
micro-batches of a step and counts the rest at their rate. Cases of several ranks come last, each
on all GPUs alone. ``cap_bytes`` of a case caps its allocator. Writes DIR/steps.json, also when the
time is up.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.case_plan import plan_of
from benchmarks.collect.forked import Forked
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.gather.cases import read_case
from tsplanner.planner.plan import Plan
from tsplanner.probe.launch import worker_command
from tsplanner.probe.process_records import merged_record
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind
from tsplanner.training.worker import environment_variables

GRACE_SECONDS = 8.0
"""The other processes of a case may go on for so long after one has failed."""


@dataclass(slots=True)
class Group:
    """Cases of one base, in one worker."""

    indices: list[int]
    plans: list[Plan]
    folder: Path
    pids: list[int] = field(default_factory=list)
    """Processes that have not ended."""
    gpus: tuple[int, ...] = ()
    began: float = 0.0
    failed: float | None = None
    """When a process of it first ended badly."""

    @property
    def ranks(self) -> int:
        """GPUs it takes."""
        return self.plans[0].hardware.sharding.world_size

    @property
    def jobs(self) -> list[str]:
        """Its job files."""
        return [str(self.folder / str(index) / "job.json") for index in self.indices]


@dataclass(slots=True)
class Bench:
    """All cases of one call."""

    given: list[dict[str, Any]]
    steps: int
    micro_batches: int
    deadline: float
    machine: Any = field(default_factory=detect_machine)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)


def groups(bench: Bench, keys: Iterable[str]) -> list[Group]:
    """One group a base, the long ones first; several ranks alone and last."""
    found: dict[str, Group] = {}
    for index, key in enumerate(keys):
        if key == "":
            continue
        folder = Path("/tmp/tsplanner-steps") / str(len(found))
        group = found.setdefault(key, Group(indices=[], plans=[], folder=folder))
        group.indices.append(index)
    for group in found.values():
        group.plans = [plan_at(bench, index) for index in group.indices]
        group.plans.sort(key=lambda plan: plan.memory.process_bytes.expected)
        order = sorted(group.indices, key=lambda i: bytes_at(bench, i))
        group.indices = order
    order = sorted(found.values(), key=lambda group: -expected_seconds(bench, group))
    return sorted(order, key=lambda group: group.ranks)


def plan_at(bench: Bench, index: int) -> Plan:
    """The plan that pins a case."""
    given = {key: value for key, value in bench.given[index].items() if key != "cap_bytes"}
    plan: Plan = plan_of(read_case(given, {}), given, bench.machine)
    return plan


def bytes_at(bench: Bench, index: int) -> int:
    """What a case is expected to take: small ones go first, in case a large one ends badly."""
    return plan_at(bench, index).memory.process_bytes.expected


def expected_seconds(bench: Bench, group: Group) -> float:
    """Roughly how long a group works."""
    return sum(
        plan.time.step_seconds
        * bench.steps
        * min(1.0, bench.micro_batches / plan.hardware.batch.gradient_accumulation_steps)
        for plan in group.plans
    )


def key_of(bench: Bench, index: int) -> str:
    """Which worker a case goes to; empty for one that the estimator refuses."""
    from tsplanner.training.worker.base_model_cache import base_key

    try:
        plan = plan_at(bench, index)
    except ValueError as error:
        bench.results[index] = {"case": bench.given[index], "error": str(error)}
        return ""
    key = base_key(plan) if plan.hardware.sharding.world_size == 1 else None
    return key or f"alone-{index}"


def start(bench: Bench, group: Group, gpus: tuple[int, ...]) -> None:
    """Write the jobs and fork their worker."""
    for index, plan in zip(group.indices, [plan_at(bench, i) for i in group.indices], strict=True):
        folder = group.folder / str(index)
        folder.mkdir(parents=True, exist_ok=True)
        job = Job(
            kind=JobKind.PROBE,
            plan=plan,
            folder=str(folder),
            probe_steps=bench.steps,
            probe_micro_batches=bench.micro_batches,
            memory_limit_bytes=bench.given[index].get("cap_bytes"),
        )
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
    group.gpus, group.began = gpus, time.monotonic()
    hardware = group.plans[0].hardware
    if hardware.sharding.zero_stage:
        group.pids = [launch(group)]
        return
    forget = ["bitsandbytes"] if needs_bitsandbytes(group) else []
    group.pids = Forked(group.jobs, group.ranks, group.folder, gpus, forget).start()


def launch(group: Group) -> int:
    """Start a worker by DeepSpeed's own launcher, which imports everything anew."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        log = os.open(group.folder / "log-0", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, group.gpus))
        os.execv(sys.executable, worker_command(group.plans[0].hardware, group.jobs))
    return pid


def needs_bitsandbytes(group: Group) -> bool:
    """The parent goes without it, since its import starts CUDA."""
    return any(
        plan.hardware.base.quantization or "8bit" in plan.hardware.kernels.optimizer
        for plan in group.plans
    )


def over(group: Group, *, late: bool) -> bool:
    """Whether all its processes have ended; ends them if it is late, or if one has failed."""
    stuck = group.failed is not None and time.monotonic() - group.failed > GRACE_SECONDS
    for pid in list(group.pids):
        if late or stuck:
            os.killpg(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, 0 if late or stuck else os.WNOHANG)
        if ended:
            group.pids.remove(pid)
            if status and group.failed is None:
                group.failed = time.monotonic()
    return not group.pids


def collect(bench: Bench, group: Group) -> None:
    """Keep what a group's worker left."""
    for index in group.indices:
        record = merged_record(group.folder / str(index), group.ranks)
        if record is None:
            logs = sorted(group.folder.glob("log-*"))
            tail = "".join(log.read_text(errors="replace")[-400:] for log in logs)
            bench.results[index] = {"case": bench.given[index], "error": f"no record: {tail}"}
            continue
        measured = msgspec.to_builtins(record)
        measured.pop("versions")
        bench.results[index] = {"case": bench.given[index], "measured": measured}


def run_all(bench: Bench) -> None:
    """Every group on the first GPUs that are free, until the time is up."""
    waiting = groups(bench, [key_of(bench, index) for index in range(len(bench.given))])
    running: list[Group] = []
    gpus = range(max(1, len(bench.machine.devices)))
    while waiting or running:
        late = time.monotonic() > bench.deadline
        for group in list(running):
            if over(group, late=late):
                running.remove(group)
                collect(bench, group)
                seconds = time.monotonic() - group.began
                print(f"  {len(group.indices)} cases in {seconds:.0f} s", flush=True)
        if late:
            break
        free = [gpu for gpu in gpus if all(gpu not in group.gpus for group in running)]
        for group in list(waiting):
            if group.ranks <= len(free):
                waiting.remove(group)
                running.append(group)
                start(bench, group, tuple(free[: group.ranks]))
                free = free[group.ranks :]
        time.sleep(0.05)
    for group in waiting:
        for index in group.indices:
            bench.results[index] = {"case": bench.given[index], "error": "out of time"}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--micro-batches", type=int, default=4)
    options = parser.parse_args()
    given = [json.loads(line) for path in options.cases for line in path.open() if line.strip()]
    began = time.monotonic()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    environment_variables.set_defaults()
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    import tsplanner.training.worker.execute  # noqa: F401  imports once, before any fork

    print(f"imports {time.monotonic() - began:.1f} s", flush=True)
    bench = Bench(
        given=given,
        steps=options.steps,
        micro_batches=options.micro_batches,
        deadline=began + 60 * options.minutes,
    )
    run_all(bench)
    document = {
        "device": bench.machine.devices[0].name if bench.machine.devices else "cpu",
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "cases": [bench.results[index] for index in sorted(bench.results)],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "steps.json", document)
    good = [row for row in document["cases"] if row.get("measured", {}).get("status") == "ok"]
    print(f"{len(good)} of {len(given)} timed in {time.monotonic() - began:.0f} s", flush=True)
    for row in document["cases"]:
        if row not in good:
            reason = row.get("error") or row["measured"]["message"]
            print("  failed:", json.dumps(row["case"])[:150], reason[-160:], flush=True)


if __name__ == "__main__":
    main()
