"""Random asks of a search under small cards: is what it admits safe, is what it refuses too much?

    python benchmarks/plan_quality/random_asks.py draw --seed 1 --output benchmarks/data/cases/random_asks.jsonl
    python benchmarks/plan_quality/random_asks.py run --cases benchmarks/data/cases/random_asks.jsonl --output DIR
    python benchmarks/plan_quality/random_asks.py run --dry-run --output DIR         # a tiny model on the CPU

An ask is what a trial of ``tune`` may be: the settings that ``plan`` picks for a model, method,
length and batch on a card of 16, 24 or 48 GiB, with another rank, rate and epochs; or several such
trials packed on one base. Whether it is admitted says what the search itself asks:
``feasible_under``, and of a pack the bound that ``best_sharing`` keeps. All of them, the refused
ones too, are run for three steps of the longest samples on one H200 with the allocator capped to
what such a card has beside the context. Writes DIR/random_asks.json; status 1 over the bars: no
admitted ask may run out of memory, and of those that ran at most 5 % may have been refused.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.plan_quality.asks import Ask, Asked, asked, base_plan, drawn
from benchmarks.plan_quality.capped import OUTSIDE_BYTES
from memory_models.settings import LossKernel, changed
from memory_models.units import GIB
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.advice import with_rank
from tsplanner.probe.launch import worker_command
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind, MultiLoraTrial, SharedTrials, Status
from tsplanner.training.record import parse_record

STEPS, LIMIT_SECONDS = 3, 120.0
GPU_BYTES = 130 * GIB
MOST_REFUSED = 0.05


def draw(seed: int, count: int, output: Path) -> None:
    """The first asks that the dice give."""
    found = list(itertools.islice(drawn(random.Random(seed)), count))
    output.write_text("".join(json.dumps(asdict(one.ask)) + "\n" for one in found))
    print(f"{len(found)} asks, {sum(one.admitted for one in found)} admitted")


def start(one: Asked, folder: Path, *, gpu: bool) -> int:
    """Fork the ask's worker; its process id."""
    folder.mkdir(parents=True, exist_ok=True)
    trials = tuple(
        MultiLoraTrial(learning=with_rank(one.plan.learning, rank), folder=str(folder / str(place)))
        for place, rank in enumerate(one.ask.packed_ranks)
    )
    job = Job(
        kind=JobKind.PROBE,
        plan=one.plan,
        folder=str(folder),
        probe_steps=STEPS,
        memory_limit_bytes=one.ask.cap_gib * GIB - OUTSIDE_BYTES if gpu else None,
        threads=2,
        shared=SharedTrials(trials=trials) if trials else None,
    )
    for name in ("record.json", "metrics.jsonl"):
        (folder / name).unlink(missing_ok=True)
    for trial in trials:
        Path(trial.folder).mkdir(exist_ok=True)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if one.plan.hardware.base.quantization:
        # Bitsandbytes starts CUDA when imported, so the parent hides it from itself.
        os.execv(sys.executable, worker_command(one.plan.hardware, [str(folder / "job.json")]))
    status = 1
    try:
        from tsplanner.training.worker.entry import main

        status = main([str(folder / "job.json")])
    finally:
        os._exit(status)


def run_all(
    asks: Sequence[Asked], folder: Path, *, gpu: bool, side_by_side: int, seconds: float
) -> dict[int, dict[str, Any]]:
    """Every ask once, as many at once as the GPU holds; what each came to, by its place."""
    ends = time.monotonic() + seconds
    waiting = sorted(range(len(asks)), key=lambda place: -asks[place].ask.cap_gib)
    running: dict[int, tuple[int, float]] = {}
    found: dict[int, dict[str, Any]] = {}
    while waiting or running:
        for place, (pid, began) in list(running.items()):
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[place]
                found[place] = outcome(folder / str(place))
            elif time.monotonic() - began > LIMIT_SECONDS:
                os.killpg(pid, 9)
        used = sum(asks[place].ask.cap_gib * GIB for place in running)
        for place in list(waiting):
            most = asks[place].ask.cap_gib * GIB
            if time.monotonic() > ends or len(running) >= side_by_side:
                break
            if used + most <= GPU_BYTES:
                waiting.remove(place)
                running[place] = start(asks[place], folder / str(place), gpu=gpu), time.monotonic()
                used += most
        if time.monotonic() > ends and not running:
            break
        time.sleep(0.05)
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """How an ask's worker ended."""
    try:
        record = parse_record((folder / "record.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        log = folder / "log"
        tail = log.read_text(errors="replace")[-400:] if log.is_file() else ""
        return {"status": "no record", "message": tail}
    return {
        "status": str(record.status),
        "message": record.message[-300:],
        "process_bytes": record.memory.process_bytes,
        "peak_allocated_bytes": record.memory.peak_allocated_bytes,
        "peak_reserved_bytes": record.memory.peak_reserved_bytes,
    }


def judged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the bars."""
    ran = [row for row in rows if row["status"] in (Status.OK, Status.DEVICE_OOM)]
    fitted = [row for row in ran if row["status"] == Status.OK]
    refused = [row for row in fitted if not row["admitted"]]
    return {
        "asks": len(rows),
        "ran": len(ran),
        "admitted": sum(row["admitted"] for row in ran),
        "admitted_out_of_memory": sum(
            row["admitted"] for row in ran if row["status"] == Status.DEVICE_OOM
        ),
        "fitted": len(fitted),
        "fitted_but_refused": len(refused),
        "refused_share": len(refused) / max(1, len(fitted)),
    }


def tiny_asks() -> list[Asked]:
    """A trial and a pack of the embedded model on the CPU, to see that all of this runs."""
    machine = replace(detect_machine(), devices=())
    ask = Ask(
        model="tiny-chatts",
        method="lora",
        cap_gib=16,
        cutoff_len=64,
        batch=2,
        rank=16,
        learning_rate=1e-3,
        epochs=1,
    )
    plan = base_plan(ask, machine)
    hardware = changed(plan.hardware, micro_batch_size=1, gradient_accumulation_steps=2)
    upper = plan.memory.process_bytes.upper
    pack = Asked(
        ask=replace(ask, packed_ranks=(2, 4, 8)),
        plan=replace(plan, hardware=changed(hardware, loss_kernel=LossKernel.FUSED)),
        upper_bytes=upper,
        admitted=True,
    )
    return [asked(ask, plan), pack]


def run(options: argparse.Namespace) -> int:
    """Run the asks and judge; 0 if the bars are kept."""
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    from tsplanner.training.worker import environment_variables

    environment_variables.set_defaults()
    import tsplanner.training.worker.execute  # noqa: F401  imports once, before any fork

    began = time.monotonic()
    if options.dry_run:
        asks = tiny_asks()
    else:
        given = [json.loads(line) for line in options.cases.open() if line.strip()]
        read = [msgspec.convert(one, Ask) for one in given]
        asks = [asked(one, base_plan(one)) for one in read]
    print(f"{len(asks)} asks planned in {time.monotonic() - began:.0f} s", flush=True)
    ended = run_all(
        asks,
        Path("/tmp/tsplanner-asks"),
        gpu=not options.dry_run,
        side_by_side=options.side_by_side,
        seconds=60 * options.minutes,
    )
    rows = [
        {
            "ask": asdict(one.ask),
            "admitted": one.admitted,
            "upper_bytes": one.upper_bytes,
            "ratio": one.ratio,
            **ended.get(place, {"status": "out of time", "message": ""}),
        }
        for place, one in enumerate(asks)
    ]
    figures = judged(rows)
    device = "cpu" if options.dry_run else detect_machine().devices[0].name
    options.output.mkdir(parents=True, exist_ok=True)
    document = {"device": device, "versions": versions(), "figures": figures, "asks": rows}
    write_json(options.output / "random_asks.json", document)
    for row in rows:
        odd = row["status"] not in (Status.OK, Status.DEVICE_OOM)
        wrong = row["admitted"] != (row["status"] == Status.OK)
        if odd or wrong:
            said = "admitted" if row["admitted"] else "refused"
            print(f"{said}, {row['ratio']:.3f}: {row['status']}", json.dumps(row["ask"]))
            if odd:
                print("   ", row["message"][-300:].replace("\n", " "))
    print(json.dumps(figures), f"in {time.monotonic() - began:.0f} s")
    kept = not figures["admitted_out_of_memory"] and figures["refused_share"] <= MOST_REFUSED
    return 0 if kept and figures["ran"] == len(rows) else 1


def main() -> int:
    """Draw asks, or run them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    verbs = parser.add_subparsers(dest="verb", required=True)
    drawing = verbs.add_parser("draw")
    drawing.add_argument("--seed", type=int, required=True)
    drawing.add_argument("--count", type=int, default=100)
    drawing.add_argument("--output", type=Path, required=True)
    running = verbs.add_parser("run")
    running.add_argument("--cases", type=Path)
    running.add_argument("--output", type=Path, required=True)
    running.add_argument("--side-by-side", type=int, default=7)
    running.add_argument("--minutes", type=float, default=6.0)
    running.add_argument("--dry-run", action="store_true", help="a tiny model on the CPU")
    options = parser.parse_args()
    if options.verb == "run":
        return run(options)
    draw(options.seed, options.count, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
