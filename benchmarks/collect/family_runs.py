"""Run families without a formula on a GPU, and set the peaks beside a forecast made before.

    python benchmarks/collect/family_runs.py forecast --output FILE     by trace, on the CPU
    python benchmarks/collect/family_runs.py measure --forecast FILE --output DIR
    python benchmarks/collect/family_runs.py report DIR/family_runs.json

``family_configs.py`` writes the cases. ``measure`` runs each as a probe job of the worker that
trains, several at once on one GPU as long as the forecasts sum up to less than it holds, and
writes DIR/family_runs.json after every case. ``report`` needs no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.case_plan import plan_of
from memory_models.units import GIB, MIB
from tsplanner.errors import TsplannerError
from tsplanner.models.source import find_model
from tsplanner.planner.gather.cases import read_case
from tsplanner.runs import versions, write_json
from tsplanner.tracing.cases import Traced, read_traced_case, run_traces
from tsplanner.training.job import Job, JobKind, Status

CASES = Path("benchmarks/data/cases/h200_families.jsonl")
STAND_IN = "qwen2.5-0.5b"
"""Model of the plan that carries a case to the worker, which reads the plan's config alone."""
LONGEST_SECONDS = 150.0


def forecast(options: argparse.Namespace) -> None:
    """Trace every case and write what each is foretold to take."""
    given = [json.loads(line) for line in options.cases.read_text().splitlines()]
    cases = [read_traced_case(case, {}, {}, trust_remote_code=False) for case in given]
    rows: list[dict[str, Any]] = []

    def take(result: Traced | TsplannerError) -> None:
        case = given[len(rows)]
        if isinstance(result, TsplannerError):
            rows.append({"case": case, "error": str(result)})
            print(f"{name_of(case):50s} {result}", flush=True)
            return
        estimate = result.estimate
        sizes = ("peak_allocated_bytes", "peak_reserved_bytes", "process_bytes")
        foretold = {name: msgspec.to_builtins(getattr(estimate, name)) for name in sizes}
        foretold["parameters_total"] = estimate.parameters_total
        foretold["parameters_trainable"] = estimate.parameters_trainable
        rows.append({"case": case, "forecast": foretold, "versions": result.trace.versions})
        print(
            f"{name_of(case):50s} {result.trace.seconds:5.1f} s "
            f"{estimate.parameters_total / 1e6:7.0f}M "
            f"{estimate.peak_allocated_bytes.expected / GIB:6.2f} GiB allocated",
            flush=True,
        )

    run_traces(cases, take)
    write_json(options.output, {"date": time.strftime("%Y-%m-%d"), "cases": rows})


def name_of(case: dict[str, Any]) -> str:
    """Family and recipe."""
    kind = Path(case["model"]).stem.removeprefix("h200_families-")
    recipe = case.get("finetuning_type", "lora")
    return f"{kind} {recipe}{'' if case.get('gradient_checkpointing', True) else ' kept'}"


@dataclass(slots=True)
class Running:
    """A case at work."""

    pid: int
    row: dict[str, Any]
    folder: Path
    bytes: int
    began: float = field(default_factory=time.monotonic)


def measure(options: argparse.Namespace) -> None:
    """Run the cases of a forecast."""
    run_forecast(options, start, "family_runs.json")


def run_forecast(
    options: argparse.Namespace,
    begin: Callable[[dict[str, Any], Any, Path], Running],
    file: str,
) -> None:
    """Run the cases of a forecast, as many at once as memory and cores allow.

    ``begin``: forks the worker on a row, on a machine, in a folder. ``file``: name of the result.
    """
    began = time.monotonic()
    document = json.loads(options.forecast.read_text())
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:False")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    # These two start CUDA when they are imported, and a fork after that cannot use it.
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    import tsplanner.training.worker.entry  # noqa: F401  imports once, before any fork
    from tsplanner.hardware.detect import detect_machine

    machine = detect_machine()
    waiting = [row for row in document["cases"] if "forecast" in row]
    waiting = [row for row in waiting if not options.only or options.only in name_of(row["case"])]
    options.output.mkdir(parents=True, exist_ok=True)
    device = machine.devices[0].name if machine.devices else "cpu"
    found = {"device": device, "date": time.strftime("%Y-%m-%d"), "versions": versions()}
    running: list[Running] = []
    done: list[dict[str, Any]] = []
    limit = int(options.memory_gib * GIB)
    while waiting or running:
        for item in list(running):
            if ended(item):
                running.remove(item)
                done.append(item.row)
                write_json(options.output / file, {**found, "cases": done})
                print(f"{time.monotonic() - began:5.0f} s  {line(item.row)}", flush=True)
        late = time.monotonic() - began > 60 * options.minutes
        waiting = [] if late else waiting
        used = sum(item.bytes for item in running)
        for row in list(waiting):
            needed = row["forecast"]["process_bytes"]["upper"]
            if len(running) < options.side_by_side and (not used or used + needed <= limit):
                waiting.remove(row)
                running.append(begin(row, machine, options.output / f"case-{id(row)}"))
                used += needed
        time.sleep(0.05)
    print(f"{len(done)} cases in {time.monotonic() - began:.0f} s")
    print(summary(done))


def start(row: dict[str, Any], machine: Any, folder: Path) -> Running:
    """Fork the worker on one case."""
    return fork(row, carrier(row["case"], machine), folder, lambda: None)


def fork(row: dict[str, Any], plan: Any, folder: Path, prepare: Callable[[], None]) -> Running:
    """Fork the worker on a probe of a plan; ``prepare`` runs in the fork before it."""
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(kind=JobKind.PROBE, plan=plan, folder=str(folder), probe_steps=3, threads=2)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    pid = os.fork()
    if pid == 0:
        work(folder, prepare)
    return Running(pid=pid, row=row, folder=folder, bytes=row["forecast"]["process_bytes"]["upper"])


def carrier(case: dict[str, Any], machine: Any) -> Any:
    """A plan that pins this case; its shapes are another model's, since the worker reads none."""
    stand_in = {**case, "model": STAND_IN}
    plan = plan_of(read_case(stand_in, {}), stand_in, machine)
    config = find_model(case["model"]).config
    named = {"name": case["model"], "model_type": str(config["model_type"]), "config": config}
    return replace(plan, model=replace(plan.model, **named))


def work(folder: Path, prepare: Callable[[], None]) -> None:
    """Run the worker with its output in the case's log; never returns."""
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        from tsplanner.training import adapters
        from tsplanner.training.worker.entry import main

        wrap = adapters.apply_method

        def counted(*given: Any) -> Any:
            model = wrap(*given)
            (folder / "trained").write_text(str(adapters.trainable_count(model)))
            return model

        adapters.apply_method = counted
        prepare()
        status = main([str(folder / "job.json")])
    finally:
        os._exit(status)


def ended(item: Running) -> bool:
    """Whether a case has ended; puts what was measured into its row."""
    from tsplanner.probe.process_records import merged_record

    pid, _ = os.waitpid(item.pid, os.WNOHANG)
    if pid == 0:
        if time.monotonic() - item.began > LONGEST_SECONDS:
            os.killpg(item.pid, 9)
        return False
    record = merged_record(item.folder, 1)
    if record is None or record.status is not Status.OK:
        tail = (item.folder / "log").read_text(errors="replace")[-1500:]
        item.row["error"] = tail if record is None else f"{record.message}\n{tail}"
    else:
        item.row["measured"] = msgspec.to_builtins(record.memory)
        item.row["measured"]["step_seconds"] = record.timing.step_seconds
        item.row["measured"]["parameters_trainable"] = int((item.folder / "trained").read_text())
    return True


def errors(row: dict[str, Any]) -> tuple[float, float]:
    """Shares by which the forecast of allocated and reserved bytes is off."""
    names = ("peak_allocated_bytes", "peak_reserved_bytes")
    allocated, reserved = (
        row["forecast"][name]["expected"] / row["measured"][name] - 1 for name in names
    )
    return allocated, reserved


def has_peaks(row: dict[str, Any]) -> bool:
    """Whether a case ran on a GPU to its end."""
    return bool(row.get("measured", {}).get("peak_allocated_bytes"))


def line(row: dict[str, Any]) -> str:
    """A case in one line."""
    name = f"{name_of(row['case']):30s}"
    if "measured" not in row:
        return f"{name} failed: {row.get('error', '').strip()[-300:]}"
    measured = row["measured"]
    trained = measured["parameters_trainable"] == row["forecast"]["parameters_trainable"]
    words = "" if trained else f"  trains {measured['parameters_trainable']}: NOT AS FORETOLD"
    if not has_peaks(row):
        return f"{name} ran on the CPU{words}"
    allocated, reserved = errors(row)
    covered = row["forecast"]["process_bytes"]["upper"] >= measured["process_bytes"]
    return (
        f"{name} allocated {measured['peak_allocated_bytes'] / MIB:9.1f} MiB {allocated:+8.3%}  "
        f"reserved {reserved:+7.2%}  {'covered' if covered else 'NOT COVERED'}{words}"
    )


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Errors of all cases: median, 95th percentile and worst, and how many bounds hold."""
    ran = [row for row in rows if "measured" in row]
    exact = sum(
        row["measured"]["parameters_trainable"] == row["forecast"]["parameters_trainable"]
        for row in ran
    )
    words = [f"{len(ran)} of {len(rows)} ran; trained parameters exact in {exact}"]
    shown = list(filter(has_peaks, ran))
    for place, name in enumerate(("allocated", "reserved")):
        off = sorted(abs(errors(row)[place]) for row in shown)
        if off:
            late = off[min(len(off) - 1, round(0.95 * len(off)))]
            words.append(
                f"{name}: median {statistics.median(off):.3%}, 95th {late:.2%}, worst {off[-1]:.2%}"
            )
    bounds = [
        row["forecast"]["process_bytes"]["upper"] >= row["measured"]["process_bytes"]
        for row in shown
    ]
    words.append(f"the bound of the process covers {sum(bounds)} of {len(bounds)}")
    return "\n".join(words)


def report(options: argparse.Namespace) -> None:
    """Print the table of a finished file."""
    rows = json.loads(options.file.read_text())["cases"]
    print("\n".join(map(line, sorted(rows, key=lambda row: name_of(row["case"])))))
    print(summary(rows))


def main() -> None:
    """Read the verb and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("forecast")
    verb.add_argument("--cases", type=Path, default=CASES)
    verb.add_argument("--output", required=True, type=Path)
    verb.set_defaults(run=forecast)
    verb = verbs.add_parser("measure")
    verb.add_argument("--forecast", required=True, type=Path)
    verb.add_argument("--output", required=True, type=Path)
    verb.add_argument("--only", default="", help="cases whose name holds this text")
    verb.add_argument("--minutes", type=float, default=7.5, help="no case starts later")
    verb.add_argument("--side-by-side", type=int, default=8)
    verb.add_argument("--memory-gib", type=float, default=132.0)
    verb.set_defaults(run=measure)
    verb = verbs.add_parser("report")
    verb.add_argument("file", type=Path)
    verb.set_defaults(run=report)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    sys.exit(main())
