"""Kill -9 workers of real searches at random moments, and check that nothing was lost or repeated.

    python benchmarks/reliability/kill_workers.py [--rounds 20] [--storage URL] [--concurrent-loras K] [--output FILE]

Each round is a search of the embedded model on a few rows, led by one process and joined by one or
two more. At a random moment a random victim gets SIGKILL: the leader or another worker, alone or
with everything it started, or just the process of a trial. A killed leader is followed by --resume,
at once or when the others have ended. Then the study is read and held against what it held before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tsplanner.tune.study.queue import RETRY_OF, SEED, STATE, WORKER, parameters_of, told_state
from tsplanner.tune.study.storage import open_storage
from tsplanner.tune.study.trial_result import TrialState

ROWS = 48
LIMIT_SECONDS = 420
SAMPLE = Path(__file__).parents[2] / "configs" / "datasets" / "sample" / "sample.jsonl"
VICTIMS = ("leader", "leader and children", "worker", "worker and children", "trial's process")


def main() -> None:
    """Rounds, a line each, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--storage", metavar="URL", help="[a journal]; the password in PGPASSWORD")
    parser.add_argument("--concurrent-loras", metavar="K", help="as tune's --concurrent-loras")
    parser.add_argument("--output", type=Path, metavar="FILE")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(Round(Path(folder), options, chance, VICTIMS[number % 5]).run())
        print(told(number, rounds[-1]), flush=True)
        document = {
            "storage": "postgresql" if options.storage else "journal",
            "concurrent_loras": options.concurrent_loras,
            "trials": options.trials,
            "passed": sum(not one["complaints"] for one in rounds),
            "of": len(rounds),
            "rounds": rounds,
        }
        if options.output is not None:
            options.output.write_text(json.dumps(document, indent=1) + "\n")
    print(f"passed {document['passed']} of {document['of']}")
    sys.exit(document["passed"] != document["of"])


def told(number: int, one: dict[str, Any]) -> str:
    """One round in a line."""
    verdict = "; ".join(one["complaints"]) or "pass"
    return (
        f"{number:>3}  {one['victim']:<20} at {one['killed_at_seconds']:>5.1f} s with "
        f"{one['finished_before']} ended, {one['in_flight_before']} in flight, "
        f"{one['workers']} workers; {one['queued_again']} queued again, {one['trials']} trials in "
        f"all, {one['seconds']:.0f} s: {verdict}"
    )


class Round:
    """One search, one kill."""

    def __init__(
        self, folder: Path, options: argparse.Namespace, chance: random.Random, victim: str
    ) -> None:
        self.folder, self.options, self.chance, self.victim = folder, options, chance, victim
        self.run_folder = folder / "run"
        self.extra = ["--concurrent-loras", given] if (given := options.concurrent_loras) else []
        self.started: list[subprocess.Popen[bytes]] = []
        self.complaints: list[str] = []
        self.killed_trials = 0

    def run(self) -> dict[str, Any]:
        """The round's record."""
        self.plan()
        began = time.monotonic()
        try:
            leader = self.lead()
            self.wait_for(lambda: any(t.state.name == "RUNNING" for t in self.trials()), leader)
            others = [self.tune("--join", "run") for _ in range(self.chance.choice((1, 2)))]
            time.sleep(self.chance.uniform(0.0, 8.0 * self.options.trials))
            before = {trial.number: trial for trial in self.trials()}
            killed_at = time.monotonic() - began
            self.kill(leader, others)
            self.finish(leader, others)
        finally:
            for process in self.started:
                with suppress(psutil.Error):
                    end_family(psutil.Process(process.pid))
                process.wait()
        after = self.trials()
        self.check(before, after)
        return {
            "victim": self.victim,
            "killed_at_seconds": round(killed_at, 1),
            "seconds": round(time.monotonic() - began, 1),
            "workers": 1 + len(others),
            "finished_before": sum(STATE in one.user_attrs for one in before.values()),
            "in_flight_before": sum(one.state.name == "RUNNING" for one in before.values()),
            "trials_killed": self.killed_trials,
            "queued_again": sum(RETRY_OF in one.user_attrs for one in after),
            "trials": sum(STATE in one.user_attrs for one in after),
            "trials_by_worker": sorted(Counter(map(worker_of, after)).values(), reverse=True),
            "complaints": self.complaints,
        }

    def plan(self) -> None:
        """A plan of the embedded model whose trials take a few seconds."""
        rows = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]
        (self.folder / "rows.jsonl").write_text("".join(rows))
        words = "plan --dataset rows.jsonl --cutoff-len 128 --epochs 1 --effective-batch 8"
        more = "--validation-fraction 0.2 --learning-rate 1e-3"
        self.call(*f"{words} {more}".split()).wait()

    def lead(self, *words: str) -> subprocess.Popen[bytes]:
        """The process that leads."""
        storage = ["--storage", self.options.storage] if self.options.storage else []
        ranges = [] if words else ["--epochs", "1", "--lora-rank", "4,8", *storage]
        trials = ["--trials", str(self.options.trials)]
        return self.tune("--run-folder", "run", *trials, *ranges, *words)

    def tune(self, *words: str) -> subprocess.Popen[bytes]:
        """A process that runs one trial at a time (with --concurrent-loras: several on one base)."""
        return self.call("tune", "--jobs", "1", *self.extra, *words)

    def call(self, *words: str) -> subprocess.Popen[bytes]:
        """A verb in the round's folder; what it prints is in a file of its own."""
        log = (self.folder / f"{len(self.started)}.txt").open("wb")
        environment = {**os.environ, "TSPLANNER_STATE": str(self.folder / "state")}
        process = subprocess.Popen(
            [sys.executable, "-m", "tsplanner", *words],
            cwd=self.folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.started.append(process)
        return process

    def trials(self) -> list[Any]:
        """All trials of the study as they are now; none before there is a study."""
        import optuna

        if not list(self.run_folder.glob("study.j*")):
            return []
        place = open_storage(self.run_folder)
        try:
            return optuna.load_study(study_name=place.name, storage=place.storage).get_trials()
        except KeyError:
            return []
        finally:
            if hasattr(place.storage, "engine"):
                place.storage.engine.dispose()

    def wait_for(self, happened: Any, process: subprocess.Popen[bytes]) -> None:
        """Until something happens or the process ends."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not happened() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.3)

    def kill(self, leader: subprocess.Popen[bytes], others: list[subprocess.Popen[bytes]]) -> None:
        """SIGKILL to the victim."""
        someone = leader if self.victim.startswith("leader") else self.chance.choice(others)
        family = psutil.Process(someone.pid)
        if self.victim == "trial's process":
            self.kill_a_trial(leader)
        elif self.victim.endswith("children"):
            end_family(family)
        else:
            family.kill()

    def kill_a_trial(self, leader: subprocess.Popen[bytes]) -> None:
        """SIGKILL to a process that trains, as soon as there is one."""

        def forks() -> list[psutil.Process]:
            found: list[psutil.Process] = []
            for one in self.started:
                with suppress(psutil.Error):
                    found += psutil.Process(one.pid).children(recursive=True)
            return [one for one in found if is_trial(one)]

        self.wait_for(forks, leader)
        if found := forks():
            self.chance.choice(found).kill()
            self.killed_trials += 1

    def finish(
        self, leader: subprocess.Popen[bytes], others: list[subprocess.Popen[bytes]]
    ) -> None:
        """Let the rest end the search; a killed leader is followed by one that resumes."""
        if self.victim.startswith("leader"):
            leader.wait()
            if self.chance.random() < 0.5:
                self.ends(*others)
            leader = self.lead("--resume")
        self.ends(leader, *others)
        if leader.returncode != 0:
            number = self.started.index(leader)
            last = (self.folder / f"{number}.txt").read_text().splitlines()[-1:]
            self.complaints.append(f"the leader ended with {leader.returncode}: {last}")

    def ends(self, *processes: subprocess.Popen[bytes]) -> None:
        """Wait for processes; one that hangs is a complaint."""
        deadline = time.monotonic() + LIMIT_SECONDS
        for process in processes:
            try:
                process.wait(max(1.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.complaints.append(f"process {self.started.index(process)} hangs")

    def check(self, before: dict[int, Any], after: list[Any]) -> None:
        """Hold the study against what it was, and against itself."""
        complain = self.complaints.append
        now = {trial.number: trial for trial in after}
        for number, trial in before.items():
            kept = now.get(number)
            if STATE in trial.user_attrs and (
                kept is None or (kept.values, kept.params) != (trial.values, trial.params)
            ):
                complain(f"trial {number} had ended and is not what it was")
        open_ = [one.number for one in after if not one.state.is_finished()]
        if open_:
            complain(f"trials {open_} are still open")
        ended = [one for one in after if STATE in one.user_attrs]
        keys = [(one.user_attrs.get(SEED), *sorted(parameters_of(one).items())) for one in ended]
        if len(set(keys)) != len(keys):
            complain("settings were run twice to their end")
        pairs = self.options.trials // 4
        searched = [one for one in ended if one.user_attrs.get(SEED) is None]
        counted = [one for one in searched if told_state(one) is not TrialState.REJECTED]
        if (
            len(counted) != self.options.trials - 2 * pairs
            or len(ended) - len(searched) > 2 * pairs
        ):
            complain(f"{len(counted)} trials of the search, {len(ended) - len(searched)} others")
        copies = Counter(one.user_attrs[RETRY_OF] for one in after if RETRY_OF in one.user_attrs)
        lost = {one.number for one in after if STATE not in one.user_attrs and one.params}
        if set(copies) != lost or any(count > 1 for count in copies.values()):
            complain(f"lost {sorted(lost)}, queued again {dict(copies)}")
        if any(now[number].user_attrs.get(STATE) for number in copies):
            complain("a trial that had ended was queued again")
        if not (self.run_folder / "tune.json").is_file():
            complain("no full run")


def worker_of(trial: Any) -> str | None:
    """Who ran a trial."""
    name: str | None = trial.user_attrs.get(WORKER)
    return name


def is_trial(process: psutil.Process) -> bool:
    """Whether a process is a trial: a fork of the warm server, itself a child of tune."""
    with suppress(psutil.Error):
        return "tsplanner.training.worker.server" in " ".join(process.parent().cmdline())
    return False


def end_family(process: psutil.Process) -> None:
    """SIGKILL to a process and all it started, the guard included."""
    family = [*process.children(recursive=True), process]
    for member in family:
        with suppress(psutil.Error):
            member.kill()


if __name__ == "__main__":
    main()
