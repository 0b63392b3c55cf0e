"""Why a case peaks where it does: the tensors alive at the allocator's peak, with their makers.

    python benchmarks/accuracy/allocation_events.py --cases FILE --output DIR

Each case runs through the same worker as in measure_memory.py with PyTorch's allocator history on.
DIR/<n>.json holds the live blocks at the peak, grouped by size and by the line that made them, and
DIR/<n>.events.gz every event of the run in order (a: allocate, f: free, s: segment), in bytes, for
replaying through ``memory_models/allocator/caching_allocator.py``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.case_plan import plan_of
from benchmarks.collect.forked import set_allocator
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.gather.cases import read_case
from tsplanner.training.job import Job, JobKind

ENTRIES = 2_000_000
GROWN, SHRUNK = ("segment_alloc", "segment_map"), ("segment_free", "segment_unmap")
"""Events of whole segments, and of those that can grow."""
FRAMES = 4
"""Innermost lines kept of each maker."""


def record(given: dict[str, Any], output: Path, index: int, steps: int) -> None:
    """Run one case in this process and write what its allocator did."""
    import torch

    from tsplanner.training.worker.entry import main

    case = read_case(given, {})
    folder = output / f"run-{index}"
    folder.mkdir(parents=True, exist_ok=True)
    plan = plan_of(case, given, detect_machine())
    job = Job(kind=JobKind.PROBE, plan=plan, folder=str(folder), probe_steps=steps, threads=2)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    torch.cuda.memory._record_memory_history(max_entries=ENTRIES, context="alloc", stacks="python")
    main([str(folder / "job.json")])
    trace = torch.cuda.memory._snapshot()["device_traces"][0]
    torch.cuda.memory._record_memory_history(enabled=None)
    document = {"case": given, **at_peak(trace)}
    (output / f"{index}.json").write_text(json.dumps(document, indent=1))
    with gzip.open(output / f"{index}.events.gz", "wt") as out:
        write_events(trace, out)


def at_peak(trace: list[dict[str, Any]]) -> dict[str, Any]:
    """Allocated and reserved peaks, and the live blocks at the former."""
    live: dict[int, int] = {}
    now = peak = where = reserved = most_reserved = 0
    for place, event in enumerate(trace):
        action, size = event["action"], event["size"]
        if action == "alloc":
            live[event["addr"]] = size
            now += size
            if now > peak:
                peak, where = now, place
        elif action == "free_completed" and event["addr"] in live:
            now -= live.pop(event["addr"])
        elif action in GROWN:
            reserved += size
            most_reserved = max(most_reserved, reserved)
        elif action in SHRUNK:
            reserved -= size
    return {
        "peak_allocated_bytes": peak,
        "peak_reserved_bytes": most_reserved,
        "peak_at": [where, len(trace)],
        "live": live_blocks(trace[: where + 1]),
    }


def live_blocks(trace: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is alive at the end of ``trace``, the largest groups first."""
    alive: dict[int, tuple[int, str]] = {}
    for event in trace:
        if event["action"] == "alloc":
            alive[event["addr"]] = (event["size"], maker(event.get("frames", [])))
        elif event["action"] == "free_completed":
            alive.pop(event["addr"], None)
    groups = Counter(alive.values())
    ordered = sorted(groups.items(), key=lambda item: -item[0][0] * item[1])
    return [
        {"bytes": size * count, "size": size, "count": count, "maker": name}
        for (size, name), count in ordered[:60]
    ]


def maker(frames: list[dict[str, Any]]) -> str:
    """The innermost lines of a stack, without torch's own plumbing."""
    skipped = ("torch/nn/modules/module.py", "torch/_ops.py", "torch/autograd/", "torch/utils/")
    useful = [f for f in frames if not any(part in f["filename"] for part in skipped)]
    chosen = (useful or frames)[:FRAMES]
    return " < ".join(f"{Path(f['filename']).name}:{f['line']} {f['name']}" for f in chosen)


def write_events(trace: list[dict[str, Any]], out: Any) -> None:
    """One event a line: kind, number of the block, bytes."""
    numbers: dict[int, int] = {}
    count = 0
    for event in trace:
        if event["action"] == "alloc":
            numbers[event["addr"]] = count
            out.write(f"a {count} {event['size']}\n")
            count += 1
        elif event["action"] == "free_completed" and event["addr"] in numbers:
            out.write(f"f {numbers.pop(event['addr'])}\n")
        elif event["action"] in (*GROWN, *SHRUNK):
            sign = "" if event["action"] in GROWN else "-"
            out.write(f"s {sign}{event['size']}\n")


def main() -> None:
    """Fork one process a case, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--side-by-side", type=int, default=6)
    parser.add_argument("--only", type=int, help="run this case alone, in this process")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    given = [json.loads(line) for line in options.cases.open() if line.strip()]
    set_allocator(given)
    if options.only is not None:  # bitsandbytes starts CUDA when imported: no fork after it
        record(given[options.only], options.output, options.only, options.steps)
        return
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    import tsplanner.training.worker.entry  # noqa: F401  imports once, before any fork

    running: set[int] = set()
    for index, case in enumerate(given):
        while len(running) >= options.side_by_side:
            running.discard(os.wait()[0])
        pid = os.fork()
        if pid == 0:
            log = os.open(options.output / f"{index}.log", os.O_WRONLY | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if case.get("quantization"):
                os.execv(sys.executable, [sys.executable, *sys.argv, "--only", str(index)])
            try:
                record(case, options.output, index, options.steps)
            finally:
                os._exit(0)
        running.add(pid)
    while running:
        running.discard(os.wait()[0])
    print(f"{len(given)} cases by {time.process_time():.0f} s of this process", flush=True)


if __name__ == "__main__":
    main()
