"""Real studies: is what ``tsplanner tune`` recommends better than the baseline on seeds it never saw?

    python benchmarks/tune/real_study.py --model tiny-chatts --output DIR
    python benchmarks/tune/real_study.py --model FOLDER --dataset FILE.jsonl --output DIR --baselines

Of each seed: the real command, ``tune --trials N`` of a plan with that seed. Then candidate and
baseline are trained once more on fresh seeds that no study used, the same ones for all, on the same
rows held out. Reported are the difference of what ``tune`` chose to the baseline (0 where it keeps the
baseline), and whether the interval that it printed covers the candidate's difference on the fresh
seeds. With --baselines a cold Optuna TPE gets as many trials in the same space and its best is
judged on the same fresh seeds. Studies and trials that are done already are not run again. Writes
DIR/real_study.json after each piece; status 1 if a study was worse than the baseline.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.tune.real_study_view import half_width, summary
from memory_models.settings import changed
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.planner.replan import replan
from tsplanner.planner.settings import LearningSettings
from tsplanner.probe.runner import Server, run_job
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import parse_record
from tsplanner.tune.runner.monitor import EVALUATIONS
from tsplanner.tune.runner.server import server_for
from tsplanner.tune.search.paired_eval import paired_difference, read_example_losses
from tsplanner.tune.search.space import default_space, suggested_learning_rate

FRESH_SEED = 9001
"""First of the seeds that no study uses."""
STUDY_SEEDS = 100
"""Studies are so far apart, so that no confirmation meets another study's seed."""
GRACE_SECONDS = 20.0


class OutOfTime(Exception):
    """--limit is over."""


class Bench:
    """One model and dataset, one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.output.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ends = time.monotonic() + options.limit
        self.document: dict[str, Any] = {
            "model": options.model,
            "trials": options.trials,
            "versions": versions(),
            "studies": {},
        }

    def left(self) -> float:
        """Seconds; raises OutOfTime when there are none."""
        seconds = self.ends - time.monotonic()
        if seconds <= 0:
            raise OutOfTime
        return seconds

    def save(self) -> None:
        """What is known so far."""
        write_json(self.folder / "real_study.json", self.document)

    def command(self, *words: str) -> None:
        """One call of tsplanner; raises OutOfTime if it had to be ended, else RuntimeError."""
        log = self.folder / f"{words[0]}.log"
        with log.open("a") as stream:
            child = subprocess.Popen(
                [sys.executable, "-m", "tsplanner", *words], stdout=stream, stderr=stream
            )
            try:
                status = child.wait(self.left())
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGINT)
                try:
                    child.wait(GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                raise OutOfTime from None
        if status:
            raise RuntimeError(
                f"tsplanner {words[0]} ended with {status}: {log.read_text()[-600:]}"
            )

    def plan(self, seed: int) -> Path:
        """The plan of a study, made once."""
        options, path = self.options, self.folder / f"seed-{seed}" / "plan.json"
        if not path.is_file():
            data = ["--dataset", str(options.dataset)] if options.dataset else []
            words = ["--model", options.model, *data, "--seed", str(seed), *options.plan.split()]
            saves = ["--saves", str(path.parent / "saves"), "--output", str(path)]
            self.command("plan", *words, *saves)
        return path

    def tuned(self, seed: int) -> dict[str, Any]:
        """The decision of a study, and the seconds it took; run unless it is there."""
        plan, folder = self.plan(seed), self.folder / f"seed-{seed}" / "study"
        if not (folder / "tune.json").is_file():
            again = ["--resume"] if (folder / "study.journal").is_file() else []
            width = ["--jobs", str(self.options.jobs)] if self.options.jobs else []
            words = ["--plan", str(plan), "--run-folder", str(folder), *self.options.tune.split()]
            words += ["--trials", str(self.options.trials), *again, *width]
            began = time.monotonic()
            self.command("tune", *words)
            write_json(folder / "took.json", {"seconds": time.monotonic() - began})
        took = json.loads((folder / "took.json").read_text())["seconds"]
        found = json.loads((folder / "tune.json").read_text())["decision"]
        return {**found, "seconds": took}

    def train(self, plan: Plan, runs: Sequence[LearningSettings], server: Server | None) -> None:
        """Train each of these once in its own folder, as a trial of the search is."""
        missing = [one for one in runs if not (self.place(one) / "record.json").is_file()]

        def one(learning: LearningSettings) -> None:
            every = max(1, round(EVALUATIONS / learning.optimization.num_train_epochs))
            job = Job(
                kind=JobKind.TRIAL,
                plan=replan(plan, learning),
                folder=str(self.place(learning)),
                evals_per_epoch=every,
                threads=None if plan.machine.devices else 1,
            )
            self.place(learning).mkdir(parents=True, exist_ok=True)
            record = run_job(job, time_limit_seconds=self.left(), server=server)
            if record.status is Status.TIMEOUT:
                (self.place(learning) / "record.json").unlink(missing_ok=True)
                raise OutOfTime

        with ThreadPoolExecutor(self.options.jobs or 1) as pool:
            list(pool.map(one, missing))

    def place(self, learning: LearningSettings) -> Path:
        """Folder of the trial with these settings and this seed."""
        name = (
            f"r{learning.method.lora_rank}-lr{learning.optimization.learning_rate:g}-e{learning.optimization.num_train_epochs}"
            f"-s{learning.seed}"
        )
        return self.folder / "trials" / name

    def loss(self, learning: LearningSettings) -> float:
        """Lowest held-out loss of a trial that was trained; infinite if it did not end well."""
        record = parse_record((self.place(learning) / "record.json").read_bytes())
        found = [one.loss for one in record.losses.evaluations]
        fine = record.status is Status.OK and found
        return min(found) if fine else math.inf

    def fresh(
        self, plan: Plan, one: LearningSettings, other: LearningSettings, server: Server | None
    ) -> dict[str, Any]:
        """One against the other on the fresh seeds, pair by pair."""
        if one == other:
            return {"differences": [], "mean": 0.0, "half_width": 0.0}
        seeds = range(FRESH_SEED, FRESH_SEED + self.options.fresh)
        sides = [(replace(one, seed=s), replace(other, seed=s)) for s in seeds]
        self.train(plan, [side for pair in sides for side in pair], server)
        differences, errors = [], []
        for ours, theirs in sides:
            rows = (read_example_losses(self.place(side)) for side in (ours, theirs))
            told = paired_difference(*rows)
            difference, error = told or (self.loss(ours) - self.loss(theirs), 0.0)
            differences.append(difference)
            errors.append(error)
        mean = statistics.fmean(differences)
        return {
            "seeds": list(seeds),
            "differences": differences,
            "row_errors": errors,
            "mean": mean,
            "half_width": half_width(differences),
        }

    def study(self, seed: int) -> None:
        """One seed: search, fresh seeds, baselines."""
        found: dict[str, Any] = self.document["studies"].setdefault(str(seed), {})
        decision = self.tuned(seed)
        found["tune"] = decision
        self.save()
        sides = {
            name: replace(msgspec.convert(decision[name], LearningSettings), seed=0)
            for name in ("challenger", "default", "learning")
        }
        plan = read_plan(self.plan(seed))
        with server_for(plan, self.folder) as server:
            contest = self.fresh(plan, sides["challenger"], sides["default"], server)
            found["challenger_fresh"] = contest
            chosen = self.fresh(plan, sides["learning"], sides["default"], server)
            found["chosen_fresh"] = chosen
            if decision["difference"] is not None:
                apart = abs(decision["difference"] - contest["mean"])
                found["covered"] = apart <= decision["half_width"]
            self.save()
            if self.options.baselines:
                best = self.tpe(plan, seed, sides["default"], server)
                found["cold_tpe"] = {
                    "learning": asdict(best),
                    **self.fresh(plan, replace(best, seed=0), sides["default"], server),
                }
                self.save()

    def tpe(
        self, plan: Plan, seed: int, default: LearningSettings, server: Server | None
    ) -> LearningSettings:
        """Best of a cold TPE in the search's own space with as many trials, each at full length."""
        import optuna

        from tsplanner.planner.advice import with_rank

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = default_space(plan, suggested_learning_rate(plan))
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        tried: list[tuple[float, LearningSettings]] = []
        for _ in range(self.options.trials):
            trial = study.ask()
            rate = trial.suggest_float("rate", *space.learning_rate, log=True)
            ranks = [rank for rank in space.lora_ranks if rank <= default.method.lora_rank]
            rank = trial.suggest_categorical("rank", ranks)
            rate = float(f"{rate:.6g}")
            learning = changed(with_rank(default, rank), learning_rate=rate, seed=seed)
            self.train(plan, [learning], server)
            loss = self.loss(learning)
            failed = optuna.trial.TrialState.FAIL if math.isinf(loss) else None
            study.tell(trial, None if failed else loss, state=failed)
            tried.append((loss, learning))
        return min(tried, key=lambda pair: pair[0])[1]


def main() -> int:
    """Run the studies, as far as the time goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="tiny-chatts")
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="studies")
    parser.add_argument("--first", type=int, default=1, help="number of the first study")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--fresh", type=int, default=3, help="fresh seeds")
    parser.add_argument("--jobs", type=int, help="trials at once [by the machine; alone: 1]")
    parser.add_argument("--plan", default="", help="more words for plan")
    parser.add_argument("--tune", default="", help="more words for tune")
    parser.add_argument("--baselines", action="store_true", help="cold TPE too")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds after which to stop")
    bench = Bench(parser.parse_args())
    try:
        first = bench.options.first
        for number in range(first, first + bench.options.seeds):
            bench.study(number * STUDY_SEEDS)
    except OutOfTime:
        print("out of time: what is done is kept", flush=True)
    lines, worse = summary(bench.document)
    print("\n".join(lines))
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main())
