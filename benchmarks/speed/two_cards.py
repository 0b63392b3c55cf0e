"""Two GPUs of one host: bytes of FSDP2 and packed DDP, scaling, and a 72B on cards of 24 GiB.

    python benchmarks/speed/two_cards.py --output DIR --minutes 8     all parts, in order of worth
    python benchmarks/speed/two_cards.py --output DIR --only scaling  one part, or runs by name
    python benchmarks/speed/two_cards.py --output DIR --foretell      what is foretold, no run
    python benchmarks/speed/two_cards.py --output DIR --dry-run       tiny shapes on CPU processes
    python benchmarks/speed/two_cards.py --report DIR/two_cards.json  what a file says of the bars

Parts: memory and memory-2 (38 runs of a few layers each, several pairs of processes side by side, for
allocated bytes do not depend on time), scaling (a whole Qwen2.5-14B on unequal packed rows, on two GPUs and on one;
an 8B by FSDP2 and by DDP), streamed (a 14B streamed from one copy in host memory) and large (a whole
Qwen2.5-72B in NF4, capped to 24 GiB a card, with rows of 384 and of 128 tokens). Weights are random. All is foretold for the machine file 2x-h200-141gib before anything starts
(DIR/foretold.json), and DIR/two_cards.json is written after every run. Libraries are imported once:
both processes of a run are forked from this one. A run that fails or takes too long leaves its
error there, and the next one starts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.forked import Forked
from benchmarks.collect.portable import portable
from benchmarks.speed.two_cards_judged import MEMORY_PARTS, judged, line
from benchmarks.speed.two_cards_runs import PARTS, RUNS, Run, outside_bytes, plan_of, told
from memory_models.units import GIB
from tsplanner.planner.plan import Plan
from tsplanner.probe.process_records import merged_record
from tsplanner.runs import read_json_lines, versions, write_json
from tsplanner.training.job import Job, JobKind

WORK = Path("/tmp/tsplanner-two-cards")
SIDE_BY_SIDE = 5
"""Pairs of processes whose bytes are measured at the same time."""
MOST_BYTES = 110 * GIB
"""Of one GPU, by the bounds of the runs on it."""
MEMORY_SHARE = 0.45
"""Of the time, after which no run for bytes alone begins."""
LAST_WORDS = 1500
"""Characters of a log that a run without a record keeps."""
GRACE_SECONDS = 8.0
"""A rank may go on for so long after the other one has failed."""


@dataclass
class Running:
    """A run at work."""

    run: Run
    plan: Plan
    folder: Path
    pids: dict[int, int]
    """Rank by process id, of those that have not ended."""
    deadline: float
    began: float = field(default_factory=time.monotonic)
    ended: str = ""
    """Why it was ended from here."""


def main() -> None:
    """Foretell all, then run all, and hold them against the bars."""
    options = arguments()
    if options.report is not None:
        print("\n".join(judged(json.loads(options.report.read_text())["runs"])))
        return
    began = time.monotonic()
    runs = chosen(options.only)
    options.output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(WORK, ignore_errors=True)
    plans, expected = foretold(runs, tiny=options.dry_run)
    write_json(options.output / "foretold.json", portable(expected))
    if options.foretell:
        for name, each in expected.items():
            print(name, json.dumps({key: each.get(key) for key in ("error", "step_seconds")}))
        return
    prepare()
    print(f"foretold and imported in {time.monotonic() - began:.0f} s", flush=True)
    board = Board(options.output, expected, cpu=options.dry_run)
    for part in PARTS:
        counts_bytes = part in MEMORY_PARTS
        together = options.side_by_side if counts_bytes else 1
        share = MEMORY_SHARE if counts_bytes and not options.only else 1.0
        board.deadline = began + 60 * options.minutes * share
        board.work([run for run in runs if run.part == part], plans, together)
        print(f"{part} by {time.monotonic() - began:.0f} s", flush=True)
    print("\n".join(judged(board.rows)))


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=WORK.with_name("tsplanner-two-cards-out"))
    parser.add_argument("--only", default="", help="parts and names of runs, joined by commas")
    parser.add_argument("--minutes", type=float, default=8.0, help="when the last run is ended")
    parser.add_argument("--side-by-side", type=int, default=SIDE_BY_SIDE)
    parser.add_argument("--foretell", action="store_true", help="run nothing")
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--report", type=Path, help="judge a file that was written before")
    return parser.parse_args()


def chosen(only: str) -> list[Run]:
    """The runs that were asked for; all without a word."""
    names = set(filter(None, only.split(",")))
    return [run for run in RUNS if not names or names & {run.name, run.part}]


def foretold(runs: Sequence[Run], *, tiny: bool) -> tuple[dict[str, Plan], dict[str, Any]]:
    """The plan of every run that has one, and what is foretold of each."""
    plans, expected = {}, {}
    for run in runs:
        try:
            plans[run.name] = plan_of(run, WORK / run.name, tiny=tiny)
            expected[run.name] = told(run, plans[run.name])
        except Exception as error:
            expected[run.name] = {"run": run.name, "part": run.part, "error": str(error)}
    return plans, expected


def prepare() -> None:
    """Import what every run needs, without starting CUDA, before the first one is forked."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    from tsplanner.training.worker import environment_variables

    environment_variables.set_defaults()
    # Both start CUDA when they are imported; a child that needs one imports it itself.
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    import tsplanner.training.worker.execute  # noqa: F401


class Board:
    """Starts runs, waits for them, and keeps what they say."""

    def __init__(self, output: Path, expected: dict[str, Any], *, cpu: bool) -> None:
        self.output, self.expected, self.cpu = output, expected, cpu
        self.deadline = 0.0
        self.rows: list[dict[str, Any]] = []

    def work(self, runs: Sequence[Run], plans: dict[str, Plan], together: int) -> None:
        """Make all runs, at most so many at a time; write after each."""
        waiting, running = list(runs), list[Running]()
        while waiting or running:
            for each in [each for each in running if self._over(each)]:
                running.remove(each)
                self._keep(each.run, outcome(each))
            while waiting and len(running) < together:
                run = waiting[0]
                left = self.deadline - time.monotonic()
                if run.name not in plans:
                    self._keep(waiting.pop(0), {"error": "no plan"})
                elif left < 5:
                    self._keep(waiting.pop(0), {"error": "out of time"})
                elif self._has_room(plans[run.name], running):
                    running.append(start(waiting.pop(0), plans[run.name], left, cpu=self.cpu))
                else:
                    break
            time.sleep(0.05)

    def _has_room(self, plan: Plan, running: Sequence[Running]) -> bool:
        taken = sum(each.plan.memory.process_bytes.upper for each in running)
        return not running or taken + plan.memory.process_bytes.upper < MOST_BYTES

    def _over(self, each: Running) -> bool:
        """Whether all processes of a run have ended; ends those that may not go on."""
        for pid in list(each.pids):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                each.pids.pop(pid)
                if status:
                    each.deadline = min(each.deadline, time.monotonic() + GRACE_SECONDS)
        if each.pids and time.monotonic() > each.deadline:
            each.ended = f"ended after {time.monotonic() - each.began:.0f} s"
            for pid in each.pids:
                os.killpg(pid, signal.SIGKILL)
            each.deadline += GRACE_SECONDS
        return not each.pids

    def _keep(self, run: Run, found: dict[str, Any]) -> None:
        row = {"foretold": self.expected[run.name], **found}
        self.rows.append(row)
        print(line(row), flush=True)
        document = {"date": time.strftime("%Y-%m-%d"), "versions": versions(), "runs": self.rows}
        write_json(self.output / "two_cards.json", portable(document))


def start(run: Run, plan: Plan, left: float, *, cpu: bool) -> Running:
    """Fork the processes of one run."""
    folder = WORK / run.name / "run"
    folder.mkdir(parents=True)
    limit = None
    if run.cap_gib is not None and not cpu:
        limit = run.cap_gib * GIB - outside_bytes(plan)
    job = Job(
        kind=JobKind.PROBE if run.rows is None else JobKind.TRIAL,
        plan=plan,
        folder=str(folder),
        probe_steps=run.steps,
        memory_limit_bytes=limit,
        threads=1 if cpu else 2,
    )
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    forget = ["deepspeed", *(["bitsandbytes"] if plan.hardware.base.needs_bitsandbytes else [])]
    # Trainer would spread the batches of one process over all GPUs that it sees.
    visible = [0] if run.ranks == 1 else None
    forked = Forked([str(folder / "job.json")], run.ranks, folder, visible, forget)
    pids = {pid: rank for rank, pid in enumerate(forked.start())}
    return Running(run, plan, folder, pids, deadline=time.monotonic() + min(run.seconds, left))


def outcome(each: Running) -> dict[str, Any]:
    """The record of a run, its losses, or the last words of its processes."""
    found: dict[str, Any] = {"seconds_in_all": time.monotonic() - each.began}
    record = merged_record(each.folder, each.run.ranks)
    if record is not None:
        found["measured"] = msgspec.to_builtins(record)
        found["measured"].pop("versions", None)
        lines = read_json_lines(each.folder / "metrics.jsonl")
        found["losses"] = [one["loss"] for one in lines if "loss" in one]
    if record is None or record.status != "ok" or each.ended:
        logs = sorted(each.folder.glob("log-*"))
        words = [log.read_text(errors="replace")[-LAST_WORDS:] for log in logs]
        found["error"] = "\n".join(filter(None, [each.ended, *words]))
    return found


if __name__ == "__main__":
    main()
