"""Measure real training steps on a GPU: memory of many cases side by side, times of a few alone.

    python benchmarks/collect/measure_memory.py --cases benchmarks/data/cases/h200_flex.jsonl --output DIR

Every case (keys of ``tsplanner estimate``; "time": true asks to be timed alone; all with the same
``expandable_segments``) runs through the same worker that trains: a probe job in a process of its
own, forked from one that has imported the libraries but not started CUDA. Weights are random, built
on the GPU. Memory counters are per
process, so several cases share the GPU as long as their estimates sum up to less than it holds.
Cases of several ranks run under torchrun, one rank a GPU; the rest are spread over the GPUs.
With --edges the cases then run again under the caps of small cards, where a card lies between what
their tensors and what their allocator took: it frees cached blocks before it gives up, so only a
run tells whether they fit. Writes DIR/measurements.json: one record a case, with versions.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.case_plan import plan_of
from benchmarks.collect.forked import set_allocator
from memory_models.estimate import estimate_memory
from memory_models.units import GIB
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.gather.cases import Case, read_case
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.rules import BITSANDBYTES_OPTIMIZERS
from tsplanner.probe.launch import worker_command
from tsplanner.probe.process_records import merged_record
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind, Status

NOT_SETTINGS = ("time",)
CAPACITIES_GIB = (11, 16, 22, 24, 40, 48, 80)
"""Cards to stand in for. Source: what people fine-tune on."""


@dataclass(slots=True)
class Running:
    """A case at work."""

    pid: int
    index: int
    folder: Path
    bytes: int
    """A rank's."""
    gpus: tuple[int, ...]
    began: float
    capacity_gib: int | None = None


@dataclass(slots=True)
class Board:
    """All cases of one call."""

    given: list[dict[str, Any]]
    output: Path
    limit: int
    deadline: float
    machine: Any = field(default_factory=detect_machine)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    gpus: int = field(default=0)
    """GPUs of the machine; 0: none, all run on the CPU."""
    edges: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Count the GPUs."""
        self.gpus = len(self.machine.devices)

    @property
    def all_gpus(self) -> range:
        """Their numbers; the CPU is number 0."""
        return range(max(1, self.gpus))


def settings_of(board: Board, index: int) -> dict[str, Any]:
    """A case without the keys that are for the harness."""
    return {key: value for key, value in board.given[index].items() if key not in NOT_SETTINGS}


def start(
    board: Board, index: int, steps: int, gpus: tuple[int, ...], capacity_gib: int | None = None
) -> Running | None:
    """Fork one case on these GPUs; None if the estimator refuses it."""
    given = settings_of(board, index)
    try:
        case = read_case(given, {})
        estimate = estimate_memory(case.architecture, case.settings, case.device)
        plan = plan_of(case, given, board.machine)
    except Exception as error:
        board.results[index] = {"case": given, "error": str(error)}
        return None
    limit = None
    if capacity_gib is not None:
        measured = board.results[index]["measured"]
        outside = measured["process_bytes"] - measured["peak_reserved_bytes"]
        limit = capacity_gib * GIB - outside
    folder = board.output / f"case-{index}-{capacity_gib or 'free'}"
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(
        kind=JobKind.PROBE,
        plan=plan,
        folder=str(folder),
        probe_steps=steps,
        memory_limit_bytes=limit,
        threads=2,
    )
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    pid = os.fork()
    if pid == 0:
        if board.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        _child(folder, plan.hardware, cold=needs_own_interpreter(case))
    return Running(
        pid=pid,
        index=index,
        folder=folder,
        bytes=estimate.process_bytes.upper,
        gpus=gpus,
        began=time.monotonic(),
        capacity_gib=capacity_gib,
    )


def needs_own_interpreter(case: Case) -> bool:
    """Bitsandbytes and DeepSpeed start CUDA when imported, so the parent hides them from itself."""
    settings = case.settings
    return bool(
        settings.base.quantization
        or settings.sharding.zero_stage
        or settings.sharding.world_size > 1
        or settings.kernels.optimizer in BITSANDBYTES_OPTIMIZERS
    )


def _child(folder: Path, hardware: HardwareSettings, *, cold: bool) -> None:
    """Run the worker with its output in the case's log; never returns."""
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if cold:
        command = worker_command(hardware, [str(folder / "job.json")])
        os.execv(sys.executable, command)
    status = 1
    try:
        from tsplanner.training.worker.entry import main

        status = main([str(folder / "job.json")])
    finally:
        os._exit(status)


def finish_case(board: Board, running: Running) -> None:
    """Keep the record of a case that ended."""
    given = settings_of(board, running.index)
    record = merged_record(running.folder, given.get("world_size", 1))
    if running.capacity_gib is not None:
        if record is not None and record.status in (Status.OK, Status.DEVICE_OOM):
            ran = {"case": given, "capacity_gib": running.capacity_gib}
            board.edges.append({**ran, "fitted": record.status is Status.OK})
        return
    if record is not None:
        measured = msgspec.to_builtins(record)
        measured.pop("versions")
        board.results[running.index] = {"case": given, "measured": measured}
    else:
        tail = (running.folder / "log").read_text(errors="replace")[-600:]
        board.results[running.index] = {"case": given, "error": f"no record: {tail}"}


def edges(board: Board) -> list[tuple[int, int | None]]:
    """Cases and cards that lie between tensors and reserved bytes of the uncapped run."""
    found: list[tuple[int, int | None]] = []
    for index, row in sorted(board.results.items()):
        measured = row.get("measured", {})
        if measured.get("status") == "ok" and measured["peak_reserved_bytes"]:
            cached = measured["peak_reserved_bytes"] - measured["peak_allocated_bytes"]
            most = measured["process_bytes"]
            found += [
                (index, card) for card in CAPACITIES_GIB if most - cached <= card * GIB < most
            ]
    return found


def run_all(
    board: Board, order: list[tuple[int, int | None]], *, side_by_side: int, steps: int
) -> None:
    """Run cases (and the card each stands on) as many at once as memory and cores allow."""
    waiting, running = list(order), []
    while waiting or running:
        running = [item for item in running if not _ended(board, item)]
        used = [sum(item.bytes for item in running if gpu in item.gpus) for gpu in board.all_gpus]
        for index, card in list(waiting):
            if time.monotonic() > board.deadline or len(running) >= side_by_side:
                break
            if len(board.results) >= 6 and not any("measured" in r for r in board.results.values()):
                break
            given = settings_of(board, index)
            needed = _needed(given)
            emptiest = sorted(board.all_gpus, key=lambda gpu: used[gpu])
            gpus = tuple(emptiest[: given.get("world_size", 1)])
            if any(used[gpu] and used[gpu] + needed > board.limit for gpu in gpus):
                continue
            waiting.remove((index, card))
            item = start(board, index, steps, gpus, card)
            if item is not None:
                running.append(item)
                for gpu in gpus:
                    used[gpu] += item.bytes
        done = [row.get("measured", {}).get("status") for row in board.results.values()]
        hopeless = len(done) >= 6 and "ok" not in done
        if (time.monotonic() > board.deadline or hopeless) and not running:
            break
        time.sleep(0.05)
    for index, _ in waiting:
        board.results.setdefault(index, {"case": board.given[index], "error": "out of time"})


def _needed(given: dict[str, Any]) -> int:
    try:
        case = read_case(given, {})
        return estimate_memory(case.architecture, case.settings, case.device).process_bytes.upper
    except Exception:
        return 0


def _ended(board: Board, item: Running) -> bool:
    pid, _ = os.waitpid(item.pid, os.WNOHANG)
    if pid == 0:
        if time.monotonic() - item.began > 240:
            os.killpg(item.pid, 9)
        return False
    finish_case(board, item)
    return True


def main() -> None:
    """Measure every case; timed ones alone first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=8.0, help="no case starts later")
    parser.add_argument("--side-by-side", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--memory-gib", type=float, default=128.0)
    parser.add_argument("--edges", type=float, default=0.0, help="minutes at which they end")
    options = parser.parse_args()
    given = [json.loads(line) for path in options.cases for line in path.open() if line.strip()]
    began = time.monotonic()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    set_allocator(given)
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    import tsplanner.training.worker.entry  # noqa: F401  imports once, before any fork

    print(f"imports {time.monotonic() - began:.1f} s", flush=True)
    board = Board(
        given=given,
        output=Path("/tmp/tsplanner-measure"),
        limit=int(options.memory_gib * GIB),
        deadline=began + 60 * options.minutes,
    )
    timed = [(index, None) for index, case in enumerate(given) if case.get("time")]
    others = [(index, None) for index in range(len(given)) if (index, None) not in timed]
    run_all(board, timed, side_by_side=1, steps=6)
    print(f"timed {len(timed)} by {time.monotonic() - began:.0f} s", flush=True)
    run_all(board, others, side_by_side=options.side_by_side, steps=options.steps)
    print(f"others by {time.monotonic() - began:.0f} s", flush=True)
    if options.edges:
        board.deadline = began + 60 * options.edges
        run_all(board, edges(board), side_by_side=options.side_by_side, steps=options.steps)
    device = board.machine.devices[0].name if board.machine.devices else "cpu"
    document = {
        "device": device,
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "cases": [board.results[index] for index in sorted(board.results)],
        "edges": board.edges,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "measurements.json", document)
    good = [row for row in document["cases"] if row.get("measured", {}).get("status") == "ok"]
    print(f"{len(good)} of {len(given)} measured in {time.monotonic() - began:.0f} s", flush=True)
    for row in document["cases"]:
        if row not in good:
            reason = row.get("error") or row["measured"]["message"]
            print("  failed:", json.dumps(row["case"]), reason[-200:], flush=True)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
