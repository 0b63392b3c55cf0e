"""Does stopping trials early cost the best one? Real curves first, then rules played on them.

    python benchmarks/tune/early_stops.py measure --output DIR [--model FOLDER --dataset FILE]
    python benchmarks/tune/early_stops.py report FILE...

``measure`` trains ten settings of one plan to their ends on one base, on the same held-out rows,
for each seed: rates from a ninth to five times the plan's at its rank, and two at half of it.
``report`` plays the search's rule (tsplanner/tune/search/early_stopping.py) on draws of eight of them, all at
once as they run on one base, and prints how many were at work in each part of the run and by how much
the best trial that was left is worse than the best of all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.accuracy.chatts_full_run import run
from memory_models.settings import changed
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.probe.multi_lora import run_multi_lora
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind, MultiLoraTrial, SharedTrials
from tsplanner.tune.search.early_stopping import LearningCurve, losers
from tsplanner.tune.search.paired_eval import mean_loss, read_eval_checkpoints

STEPS = range(-4, 4)
"""Rates, in half steps of a factor of three from the plan's."""
HALVED = (0, 1)
"""The same at half the rank."""
TOGETHER = 8
DRAWS = 45


def settings(plan: Plan, seed: int) -> list[LearningSettings]:
    """The ten settings."""
    learning = plan.learning
    whole = [(learning.method.lora_rank, step) for step in STEPS]
    half = [(max(1, learning.method.lora_rank // 2), step) for step in HALVED]
    return [
        changed(
            learning,
            lora_rank=rank,
            lora_alpha=None,
            learning_rate=learning.optimization.learning_rate * 3 ** (step / 2),
            seed=seed,
        )
        for rank, step in [*whole, *half]
    ]


def measure(options: argparse.Namespace) -> None:
    """Plan, train, keep every trial's marks."""
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    given = ["--model", str(options.model.resolve())] if options.model else []
    given += ["--dataset", str(options.dataset.resolve())] if options.dataset else []
    given += ["--world-size", "1"] if options.one_gpu else []
    run(["plan", *given], folder)
    path = max(folder.glob("saves/**/plan.json"), key=lambda file: file.stat().st_mtime)
    plan = read_plan(path)
    seeds: list[dict[str, Any]] = []
    for seed in range(100, 100 + options.seeds):
        own = folder / f"seed-{seed}"
        chosen = settings(plan, seed)
        trials = tuple(
            MultiLoraTrial(learning=each, folder=str(own / str(place)))
            for place, each in enumerate(chosen)
        )
        job = Job(
            kind=JobKind.TRIAL, plan=plan, folder=str(own), shared=SharedTrials(trials=trials)
        )
        found = run_multi_lora(job, time_limit_seconds=options.limit)
        seeds.append(
            {"seed": seed, "seconds": found.worker.timing.seconds, "trials": told(own, chosen)}
        )
        document = {"model": plan.model.name, "versions": versions(), "seeds": seeds}
        write_json(folder / "early_stops.json", document)
        print(
            f"seed {seed}: {found.worker.status} {found.worker.message} {found.worker.timing.seconds:.0f} s"
        )


def told(folder: Path, chosen: list[LearningSettings]) -> list[dict[str, Any]]:
    """Marks of each trial, by step."""
    return [
        {
            "lora_rank": each.method.lora_rank,
            "learning_rate": each.optimization.learning_rate,
            "marks": {
                str(step): {"epoch": epoch, "rows": rows}
                for step, (epoch, rows) in read_eval_checkpoints(folder / str(place)).items()
            },
        }
        for place, each in enumerate(chosen)
    ]


def played(trials: list[dict[str, Any]]) -> tuple[list[int], float]:
    """(trials at work in each part of the run, regret in nats) of trials that all run at once.

    The first of them is the default, which never stops.
    """
    marks = [{int(step): mark["rows"] for step, mark in trial["marks"].items()} for trial in trials]
    ends = sorted({step for own in marks for step in own if step})
    last, at_work, alive = max(ends), [], set(range(len(trials)))
    known: dict[int, LearningCurve] = {number: LearningCurve(checkpoints={}) for number in alive}
    for step in ends:
        at_work.append(len(alive))
        for number in sorted(alive):
            if step in marks[number]:
                rows = {**known[number].checkpoints, step: marks[number][step]}
                final = mean_loss(marks[number][step]) if step == last else None
                known[number] = LearningCurve(checkpoints=rows, final=final)
        gone = losers(known, alive - {0}, len(trials), last)
        alive -= set(gone)
        alive = {number for number in alive if step in marks[number]}  # the others diverged
    best = min(mean_loss(own[last]) for own in marks if last in own)
    left = min(mean_loss(marks[number][last]) for number in alive)
    return at_work, left - best


def report(options: argparse.Namespace) -> None:
    """The rule on every draw of every file."""
    print(
        f"{'model':14s}{'seed':>5s}{'at work':>16s}{'regret: mean':>14s}{'worst':>8s}{'best':>9s}"
    )
    for path in options.files:
        document = json.loads(path.read_text())
        for one in document["seeds"]:
            found = played_draws(one["trials"])
            regrets = [regret for _, regret in found]
            ends = [losses(trial)[-1] for trial in one["trials"] if losses(trial)]
            working = " ".join(f"{count:.1f}" for count in mean_at_work(found))
            print(
                f"{document['model'][:13]:14s}{one['seed']:>5d}{working:>16s}"
                f"{statistics.fmean(regrets):>14.4f}{max(regrets):>8.4f}{min(ends):>9.4f}"
            )


def played_draws(trials: list[dict[str, Any]]) -> list[tuple[list[int], float]]:
    """The rule on draws of the trials; the plan's own settings are in each."""
    default = trials[-STEPS.start]
    others = [trial for trial in trials if trial is not default]
    draws = list(itertools.combinations(others, TOGETHER - 1))
    chosen = random.Random(0).sample(draws, min(DRAWS, len(draws)))
    return [played([default, *draw]) for draw in chosen]


def mean_at_work(found: list[tuple[list[int], float]]) -> list[float]:
    """Trials at work in each part of the run, on average."""
    return [statistics.fmean(counts) for counts in zip(*(own for own, _ in found), strict=True)]


def losses(trial: dict[str, Any]) -> list[float]:
    """Held-out losses of a trial, mark by mark."""
    return [mean_loss(trial["marks"][step]["rows"]) for step in sorted(trial["marks"], key=int)]


def main(arguments: list[str]) -> None:
    """Measure or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    verbs = parser.add_subparsers(required=True)
    first = verbs.add_parser("measure")
    first.add_argument("--output", type=Path, required=True)
    first.add_argument("--model", type=Path)
    first.add_argument("--dataset", type=Path)
    first.add_argument("--seeds", type=int, default=3)
    first.add_argument("--limit", type=float, default=300.0, help="seconds a seed may take")
    first.add_argument("--one-gpu", action="store_true")
    first.set_defaults(call=measure)
    second = verbs.add_parser("report")
    second.add_argument("files", type=Path, nargs="+")
    second.set_defaults(call=report)
    options = parser.parse_args(arguments)
    options.call(options)


if __name__ == "__main__":
    main(sys.argv[1:])
