"""Random asks of a search under small cards: is what it admits safe, is what it refuses too much?

    python benchmarks/random_asks.py draw --seed 1 --output benchmarks/cases/random_asks.jsonl
    python benchmarks/random_asks.py run --cases benchmarks/cases/random_asks.jsonl --output DIR
    python benchmarks/random_asks.py run --dry-run --output DIR         # a tiny model on the CPU

An ask is what a trial of ``tune`` may be: the settings that ``plan`` picks for a model, method,
length and batch on a card of 16, 24 or 48 GiB, with another rank, rate and epochs; or several such
trials packed on one base. Whether it is admitted says what the search itself asks:
``feasible_under``, and of a pack the bound that ``best_packing`` keeps. All of them, the refused
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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from capped import OUTSIDE_BYTES
from regret_grids import Grid, card, request_of

from memory_models.device import Machine
from memory_models.estimate import estimate_memory
from memory_models.settings import FinetuningType, LossKernel, Quantization, TrainingSettings
from memory_models.units import GIB
from tsplanner.commands.tune import feasible_under
from tsplanner.errors import TsplannerError
from tsplanner.hardware.detect import detect_machine
from tsplanner.models.source import read_architecture
from tsplanner.planner.advice import with_rank
from tsplanner.planner.choose import choose
from tsplanner.planner.packable import packing_refusal
from tsplanner.planner.packing import candidates
from tsplanner.planner.plan import Plan, training_settings
from tsplanner.planner.request import Pins
from tsplanner.probe.launch import worker_command
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind, PackedTrial, Record, Status
from tsplanner.tune.slots import Slots

MODELS = (
    "qwen2.5-0.5b",
    "qwen3-0.6b",
    "llama-3.2-1b",
    "gemma-3-1b",
    "qwen2.5-1.5b",
    "qwen3-1.7b",
    "gemma-2-2b",
    "llama-3.2-3b",
    "phi-4-mini",
    "qwen3-4b",
    "mistral-7b",
    "qwen2.5-7b",
    "llama-3.1-8b",
    "qwen3-8b",
    "chatts-8b",
)
CAPS_GIB = (16, 24, 48)
METHODS = {"lora": 55, "rslora": 10, "dora": 8, "adalora": 7, "full": 12, "freeze": 8}
LENGTHS = (256, 512, 512, 1024, 1024, 2048, 4096)
BATCHES = (2, 4, 8, 16, 16)
RANKS = (4, 8, 16, 32, 64, 128, 256, 512)
PACK_SHARE = 0.4
STEPS, LIMIT_SECONDS = 3, 120.0
GPU_BYTES = 130 * GIB
MOST_REFUSED = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One line of the cases."""

    model: str
    method: str
    cap_gib: int
    cutoff_len: int
    batch: int
    rank: int
    learning_rate: float
    epochs: int
    quantization: str | None = None
    packed_ranks: tuple[int, ...] = ()
    """Ranks of a pack's trials; empty: one trial."""
    micro_batch: int | None = None
    """Of a pack."""
    checkpointing: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An ask with what the search says of it."""

    ask: Ask
    plan: Plan
    """What is run; of a pack the plan of its pass."""
    upper_bytes: int
    admitted: bool

    @property
    def ratio(self) -> float:
        """Upper bound over the card."""
        return self.upper_bytes / (self.ask.cap_gib * GIB)


def base_plan(ask: Ask, machine: Machine | None = None) -> Plan:
    """What ``plan`` picks on that card; raises TsplannerError if nothing fits."""
    grid = Grid(ask.model, ask.cutoff_len, FinetuningType(ask.method))
    request = request_of(grid, ask.cap_gib)
    learning = replace(
        request.learning, effective_batch_size=ask.batch, lora_rank=8, num_train_epochs=3
    )
    pins = Pins()
    if ask.quantization:
        pins = Pins(quantization=Quantization(ask.quantization))
    here = machine or card(ask.cap_gib)
    return choose(replace(request, learning=learning, pins=pins, machine=here)).plan


def asked(ask: Ask, plan: Plan) -> Asked:
    """What the search says; raises ValueError for an ask that no trial can be."""
    if ask.packed_ranks:
        return asked_pack(ask, plan)
    learning = with_rank(plan.learning, ask.rank)
    learning = replace(
        learning, learning_rate=ask.learning_rate, num_train_epochs=ask.epochs, lora_alpha=None
    )
    over, planned = feasible_under(plan, Slots(jobs=1))(learning)
    if planned.learning != learning:
        raise ValueError("these settings cannot run")
    upper = planned.memory.process_bytes.upper
    return Asked(ask=ask, plan=planned, upper_bytes=upper, admitted=over <= 0)


def asked_pack(ask: Ask, plan: Plan) -> Asked:
    """The same of several trials in one process, by the bound that the search keeps."""
    settings = next(
        found
        for found in candidates(solo_settings(plan), ask.packed_ranks)
        if len(found.packed_ranks) == len(ask.packed_ranks)
        and found.micro_batch_size == ask.micro_batch
        and found.gradient_checkpointing == ask.checkpointing
    )
    architecture = read_architecture(plan.model.config, name=ask.model, source="plan")
    upper = estimate_memory(architecture, settings, plan.machine.devices[0]).process_bytes.upper
    hardware = replace(
        plan.hardware,
        micro_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        gradient_checkpointing=settings.gradient_checkpointing,
        checkpointed_layers=None,
        loss_kernel=LossKernel.FUSED,
    )
    admitted = upper <= plan.free_bytes
    return Asked(
        ask=ask, plan=replace(plan, hardware=hardware), upper_bytes=upper, admitted=admitted
    )


def solo_settings(plan: Plan) -> TrainingSettings:
    """A trial of the plan as the estimator sees it."""
    dataset, hardware = plan.dataset, plan.hardware
    length = dataset.sequence_length(hardware.micro_batch_size)
    return training_settings(plan.learning, hardware, length, dataset.series_patches(length))


def drawn(dice: random.Random) -> Iterator[Asked]:
    """Random asks without end."""
    while True:
        first = Ask(
            model=dice.choice(MODELS),
            method=dice.choices(list(METHODS), list(METHODS.values()))[0],
            cap_gib=dice.choice(CAPS_GIB),
            cutoff_len=dice.choice(LENGTHS),
            batch=dice.choice(BATCHES),
            rank=dice.choice(RANKS),
            learning_rate=float(f"{1e-4 * 10 ** dice.uniform(-1, 1.5):.3g}"),
            epochs=dice.choice((1, 2, 3)),
        )
        if first.method in ("lora", "rslora") and dice.random() < 0.2:
            first = replace(first, quantization="nf4")
        try:
            plan = base_plan(first)
        except (TsplannerError, ValueError):
            continue
        if dice.random() < PACK_SHARE and not packing_refusal(
            plan.learning, plan.hardware, plan.model.config
        ):
            first = packed(dice, first)
        try:
            yield asked(first, plan)
        except (ValueError, StopIteration):
            continue


def packed(dice: random.Random, ask: Ask) -> Ask:
    """Several trials of usual ranks, by some micro-batch."""
    divisors = [size for size in range(1, ask.batch + 1) if ask.batch % size == 0]
    return replace(
        ask,
        packed_ranks=tuple(sorted(dice.choice(RANKS[1:6]) for _ in range(dice.randint(2, 8)))),
        micro_batch=dice.choice(divisors[:3]),
        checkpointing=dice.random() < 0.4,
    )


def draw(seed: int, count: int, output: Path) -> None:
    """The first asks that the dice give."""
    found = list(itertools.islice(drawn(random.Random(seed)), count))
    output.write_text("".join(json.dumps(asdict(one.ask)) + "\n" for one in found))
    print(f"{len(found)} asks, {sum(one.admitted for one in found)} admitted")


def start(one: Asked, folder: Path, *, gpu: bool) -> int:
    """Fork the ask's worker; its process id."""
    folder.mkdir(parents=True, exist_ok=True)
    trials = tuple(
        PackedTrial(learning=with_rank(one.plan.learning, rank), folder=str(folder / str(place)))
        for place, rank in enumerate(one.ask.packed_ranks)
    )
    job = Job(
        kind=JobKind.PROBE,
        plan=one.plan,
        folder=str(folder),
        probe_steps=STEPS,
        memory_limit_bytes=one.ask.cap_gib * GIB - OUTSIDE_BYTES if gpu else None,
        threads=2,
        packed=trials,
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
    if one.plan.hardware.quantization:
        # Bitsandbytes starts CUDA when imported, so the parent hides it from itself.
        os.execv(sys.executable, worker_command(one.plan.hardware, [str(folder / "job.json")]))
    status = 1
    try:
        from tsplanner.training.worker import main

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
        record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        log = folder / "log"
        tail = log.read_text(errors="replace")[-400:] if log.is_file() else ""
        return {"status": "no record", "message": tail}
    return {
        "status": str(record.status),
        "message": record.message[-300:],
        "process_bytes": record.process_bytes,
        "peak_allocated_bytes": record.peak_allocated_bytes,
        "peak_reserved_bytes": record.peak_reserved_bytes,
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
    hardware = replace(plan.hardware, micro_batch_size=1, gradient_accumulation_steps=2)
    upper = plan.memory.process_bytes.upper
    pack = Asked(
        ask=replace(ask, packed_ranks=(2, 4, 8)),
        plan=replace(plan, hardware=replace(hardware, loss_kernel=LossKernel.FUSED)),
        upper_bytes=upper,
        admitted=True,
    )
    return [asked(ask, plan), pack]


def run(options: argparse.Namespace) -> int:
    """Run the asks and judge; 0 if the bars are kept."""
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    from tsplanner.training import environment

    environment.prepare()
    import tsplanner.training.execute  # noqa: F401  imports once, before any fork

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
