"""The verbs of one round of faults.py, in a folder of its own, and what is done to them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

LIMIT_SECONDS = 400.0
"""A verb that takes longer hangs."""
GONE_SECONDS = 10.0
"""Time in which every process of a verb that ended has to be gone."""
ROWS = 32
DISK = "disk"
SAMPLE = Path(__file__).parents[2] / "configs" / "datasets" / "sample" / "sample.jsonl"
PLAN = (
    "plan --dataset rows.jsonl --cutoff-len 128 --effective-batch 8 --validation-fraction 0.2 "
    "--epochs 12 --learning-rate 1e-3 --lora-rank 4"
)
TRIALS = 4
SEARCH = f"--trials {TRIALS} --jobs 1 --epochs 1 --lora-rank 4,8 --learning-rate 1e-3..9e-3"
FREED_AFTER_SECONDS = 25.0
"""A person frees the disk after so long."""


class Verbs:
    """Verbs of tsplanner in one folder, one after another or side by side."""

    def __init__(self, folder: Path, search: tuple[str, ...]) -> None:
        """``folder`` is the round's; saves are on the small disk, if there is one.

        ``search`` has further flags of the search.
        """
        self.folder, self.search = folder, search
        self.saves = folder / DISK / "saves" if (folder / DISK).is_dir() else folder / "saves"
        self.run = self.saves / "tiny-chatts" / "lora" / "round"
        self.logs: list[Path] = []
        self._frozen: list[Path] = []
        self._taken: Path | None = None

    def call(self, *words: str) -> subprocess.Popen[bytes]:
        """A verb whose output is in a file of its own."""
        log = self.folder / f"{len(self.logs)}.txt"
        self.logs.append(log)
        environment = {
            **os.environ,
            "TSPLANNER_STATE": str(self.folder / "state"),
            "OMP_NUM_THREADS": "1",
        }
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tsplanner", *words, "--saves", str(self.saves)],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self, verb: str) -> subprocess.Popen[bytes]:
        """Begin a run."""
        where = ("--run-folder", str(self.run))
        if verb == "train":
            return self.call("train", *where)
        return self.call("tune", *where, *SEARCH.split(), *self.search)

    def help(self, leader: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """A second process on the same search, once there is one."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not (self.run / "search-plan.json").is_file() and leader.poll() is None:
            time.sleep(0.2)
            if time.monotonic() > deadline:
                break
        return self.call("tune", "--join", str(self.run), "--jobs", "1")

    def progress(self, verb: str) -> int:
        """Trials that have ended, or lines of metrics of a full run."""
        if verb != "train":
            return len(list(self.run.glob("trials/*/outcome.json")))
        with suppress(OSError):
            return (self.run / "metrics.jsonl").read_bytes().count(b"\n")
        return 0

    def resume(self, verb: str) -> subprocess.Popen[bytes]:
        """Go on with a run, or begin it where it had not begun."""
        begun = "job.json" if verb == "train" else "search-plan.json"
        if not (self.run / begun).is_file():
            return self.start(verb)
        # Without a folder the newest run has to be found, whatever its file times say.
        return self.call("train" if verb == "train" else "tune", "--resume")

    def ends(self, process: subprocess.Popen[bytes]) -> int | None:
        """The exit status; None for a process that hangs, which is killed."""
        try:
            return process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    def last_words(self) -> str:
        """The last line that the newest verb printed."""
        lines = self.logs[-1].read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""

    def left_processes(self) -> list[str]:
        """A complaint on the processes that outlive their verb."""
        deadline = time.monotonic() + GONE_SECONDS
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [f"{len(left)} processes left: {left}"] if left else []

    def _processes(self) -> list[int]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = [process.cwd(), *process.cmdline()]
                zombie = process.status() == psutil.STATUS_ZOMBIE
                if not zombie and any(str(self.folder) in word for word in words):
                    found.append(process.pid)
        return found

    def signal_worker(self, chance: random.Random, number: int, leader: Any) -> None:
        """Send a signal to a process that trains, as soon as there is one."""
        deadline = time.monotonic() + 40
        while leader.poll() is None and time.monotonic() < deadline:
            if found := [each for each in self._workers() if each.is_running()]:
                with suppress(psutil.Error):
                    chance.choice(found).send_signal(number)
                return
            time.sleep(0.05)

    def _workers(self) -> list[psutil.Process]:
        found = []
        for pid in self._processes():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                parent = process.parent()
                of_server = parent is not None and "worker.server" in " ".join(parent.cmdline())
                cold = "tsplanner.training.worker" in process.cmdline()
                if of_server or cold:
                    found.append(process)
        return found

    def fill(self) -> None:
        """Fill the small disk, and free it after a while as a person would."""
        filler = self.folder / DISK / "filler"
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        threading.Timer(FREED_AFTER_SECONDS, lambda: filler.unlink(missing_ok=True)).start()

    def freeze(self) -> None:
        """Let nobody make, rename or remove a file in the run's folders."""
        self._frozen = [self.run, *(path for path in self.run.rglob("*") if path.is_dir())]
        for path in self._frozen:
            subprocess.run(["chattr", "+i", str(path)], check=False, capture_output=True)

    def thaw(self) -> None:
        """Make folders writable again, and free the disk."""
        for path in self._frozen:
            subprocess.run(["chattr", "-i", str(path)], check=False, capture_output=True)
        self._frozen = []
        (self.folder / DISK / "filler").unlink(missing_ok=True)

    def without_journal(self) -> list[str]:
        """Resume while the journal is gone: a sentence, no success, and nothing else changes."""
        journal, away = self.run / "study.journal", self.folder / "taken"
        if not journal.is_file() or not any((self.run / "trials").glob("*")):
            return []
        journal.rename(away)
        ended = self.ends(self.call("tune", "--run-folder", str(self.run), "--resume"))
        made = journal.exists()
        away.rename(journal)
        wrong = ended != 1 or made
        return [f"without its journal the search ended with {ended}"] if wrong else []

    def delete(self, chance: random.Random) -> set[str]:
        """Remove one file of what is there, and name it."""
        patterns = (
            "trials/*/eval_rows.json*",
            "trials/*/record.json",
            "trials/*/metrics.jsonl",
            "checkpoints/*/optimizer.pt",
            "checkpoints/*/*.safetensors",
            "owner.json",
            "study.lock",
            "versions.json",
        )
        there = [path for pattern in patterns for path in self.run.glob(pattern)]
        if not there:
            return set()
        taken = chance.choice(sorted(there))
        taken.unlink()
        return {str(taken.relative_to(self.run))}

    def shift_times(self, chance: random.Random) -> None:
        """Move the times of all files, as a clock that was set wrong and is right again."""
        seconds = chance.choice((-400, 400)) * 86_400 + chance.random() * 3_600
        for path in [*self.saves.rglob("*")]:
            with suppress(OSError):
                changed = path.stat().st_mtime + seconds
                os.utime(path, (changed, changed))


def plan_round(folder: Path, search: tuple[str, ...]) -> Verbs:
    """A plan of the embedded model on a few rows, whose steps take fractions of a second."""
    verbs = Verbs(folder, search)
    rows = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]
    (folder / "rows.jsonl").write_text("".join(rows))
    process = verbs.call(*PLAN.split())
    if verbs.ends(process) != 0:
        raise RuntimeError(f"the plan failed: {verbs.last_words()}")
    shutil.rmtree(folder / "state", ignore_errors=True)
    return verbs
