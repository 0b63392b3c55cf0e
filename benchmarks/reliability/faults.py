"""Random faults over real runs: what had finished has to be there afterwards, and nothing pretended.

    python benchmarks/reliability/faults.py [--rounds 100] [--seed 1] [--at-once 2] [--storage URL] [--output FILE]

Each round is a search, a full run or a search with a helper on tiny-chatts and a few rows. At a
random moment one fault strikes, in half of the rounds after some trials or steps. Then the run is resumed until it is over, and its folder is held
against what had finished before: trials that were told, their files, and the steps up to the last
checkpoint. Full disks need the right to mount a tmpfs and read-only folders that to set the
immutable flag; without it those rounds are left out and counted as such.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.reliability.fault_state import State, complaints, mount_disk, unmount_disk
from benchmarks.reliability.fault_verbs import Verbs, plan_round
from tsplanner.runs import versions, write_json

FAULTS = {
    "kill": "tune train join",
    "term": "tune train join",
    "hangup": "tune train join",
    "kill a worker": "tune train join",
    "term a worker": "tune train join",
    "stop a worker": "tune train",
    "kill a helper": "join",
    "stop a helper": "join",
    "full disk": "tune train",
    "read-only folder": "tune train",
    "deleted file": "tune train",
    "clock": "tune train",
}
"""Fault -> the kinds of run that it strikes."""
LEADER_SIGNALS = {
    "kill": signal.SIGKILL,
    "deleted file": signal.SIGKILL,
    "clock": signal.SIGKILL,
    "term": signal.SIGTERM,
    "hangup": signal.SIGHUP,
}
STATUSES = {"kill": (-9,), "term": (143,), "hangup": (129,)}
"""Exit status that a verb may have after a signal, if it had not ended before."""
RESUMES = 4
"""Attempts to bring a run to its end; the first is under the fault's last traces."""
EARLY_SECONDS = (0.5, 15.0)
"""Moment of a fault from the start of the run, in half of the rounds: mostly before any result."""
LATE_PROGRESS = {"tune": 4, "train": 44, "join": 4}
"""In the other half: the most trials or lines of metrics.jsonl (of 49) that are waited for."""
LATE_SECONDS = (0.0, 1.5)
"""Moment of a fault after these."""


def main() -> None:
    """Rounds, a line each, and the sum; status 1 if anything was lost or pretended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--fault", choices=list(FAULTS), help="this one alone")
    parser.add_argument("--storage", metavar="URL", help="[a journal]; the password in PGPASSWORD")
    parser.add_argument("--concurrent-loras", default="off", metavar="K", help="as of tune")
    parser.add_argument("--output", type=Path, metavar="FILE")
    options = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    search = ("--concurrent-loras", options.concurrent_loras)
    search += ("--storage", options.storage) if options.storage else ()

    def run(number: int) -> None:
        rounds.append(Round(number, options.seed, options.fault).run(search))
        print(told(rounds[-1]), flush=True)
        if options.output is not None:
            write_json(options.output, document(rounds, options.seed))

    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(run, range(options.first, options.first + options.rounds)))
    found = document(rounds, options.seed)
    print({key: value for key, value in found.items() if key not in ("each", "versions")})
    sys.exit(bool(found["complaints"]))


def document(rounds: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """All rounds, and their sums."""
    ran = [one for one in rounds if not one["left_out"]]
    return {
        "seed": seed,
        "rounds": len(ran),
        "left_out": len(rounds) - len(ran),
        "by_fault": dict(Counter(one["fault"] for one in ran)),
        "struck_after_the_first_trial_or_step": sum(one["progress"] > 0 for one in ran),
        "over_before_the_fault": sum(one["over"] for one in ran),
        "finished_trials_at_stake": sum(one["trials"] for one in ran),
        "checkpointed_steps_at_stake": sum(one["steps"] for one in ran),
        "losses": sum(one["losses"] for one in ran),
        "complaints": sum(len(one["complaints"]) for one in ran),
        "versions": versions(),
        "each": sorted(rounds, key=lambda one: int(one["number"])),
    }


def told(one: dict[str, Any]) -> str:
    """One round in a line."""
    verdict = one["left_out"] or "; ".join(one["complaints"]) or "pass"
    return (
        f"{one['number']:>3}  {one['verb']:<5} {one['fault']:<16} at {one['struck_at']:>4.1f} s, "
        f"progress {one['progress']:>2}{' (over)' if one['over'] else ''}: "
        f"{one['trials']} trials, {one['steps']} steps at stake, {one['resumes']} resumes, "
        f"{one['seconds']:.0f} s: {verdict}"
    )


class Round:
    """One run, one fault."""

    def __init__(self, number: int, seed: int, fault: str | None) -> None:
        """``fault`` None: drawn, all alike often."""
        self.number, self.chance = number, random.Random(f"{seed} {number}")
        self.fault = fault or list(FAULTS)[number % len(FAULTS)]
        self.verb = self.chance.choice(FAULTS[self.fault].split())
        self.complaints: list[str] = []
        self.struck: dict[str, Any] = {"struck_at": 0.0, "progress": 0, "over": False}

    def run(self, search: tuple[str, ...]) -> dict[str, Any]:
        """The round's record; ``search`` has further flags of its search."""
        began, left_out, losses = time.monotonic(), "", 0
        before, resumes = State(), 0
        with tempfile.TemporaryDirectory(prefix="faults-") as name:
            folder = Path(name)
            try:
                if self.fault == "full disk" and not mount_disk(folder):
                    left_out = "no tmpfs may be mounted"
                else:
                    verbs = plan_round(folder, search)
                    self.strike(verbs)
                    before = State.of(verbs.run)
                    deleted = self.aftermath(verbs)
                    resumes = self.resume(verbs)
                    found, losses = complaints(verbs, before, deleted)
                    self.complaints += found
            finally:
                end_all(folder)
                unmount_disk(folder)
        return {
            "number": self.number,
            "verb": self.verb,
            "fault": self.fault,
            "left_out": left_out,
            **self.struck,
            "seconds": round(time.monotonic() - began, 1),
            "trials": len(before.trials),
            "steps": before.checkpoint,
            "resumes": resumes,
            "losses": losses,
            "complaints": self.complaints,
        }

    def strike(self, verbs: Verbs) -> None:
        """Start the run, wait, let the fault happen and the run end."""
        leader = verbs.start(self.verb)
        helper = verbs.help(leader) if self.verb == "join" else None
        began = time.monotonic()
        self.wait(verbs, leader)
        self.struck = {
            "struck_at": round(time.monotonic() - began, 1),
            "progress": verbs.progress(self.verb),
            "over": leader.poll() is not None,
        }
        if leader.poll() is None:
            self.happen(verbs, leader, helper)
        ended = verbs.ends(leader)
        if ended is None:
            self.complaints.append("the run hangs after the fault")
        wanted = STATUSES.get(self.fault)
        if wanted is not None and ended not in (*wanted, 0):
            self.complaints.append(f"ended with {ended} after {self.fault}")
        if helper is not None:
            # One that was stopped after it had read that the search is over is nobody's to end:
            # a person continues it, and it has to leave by itself.
            helper.send_signal(signal.SIGCONT)
        if helper is not None and verbs.ends(helper) is None:
            self.complaints.append("the helper hangs after the fault")
        self.complaints += verbs.left_processes()

    def wait(self, verbs: Verbs, leader: Any) -> None:
        """Until the moment of the fault, or the end of the run."""
        late = self.chance.random() < 0.5
        wanted = self.chance.randint(1, LATE_PROGRESS[self.verb]) if late else 0
        while verbs.progress(self.verb) < wanted and leader.poll() is None:
            time.sleep(0.02)
        moment = time.monotonic() + self.chance.uniform(*(LATE_SECONDS if late else EARLY_SECONDS))
        while time.monotonic() < moment and leader.poll() is None:
            time.sleep(0.02)

    def happen(self, verbs: Verbs, leader: Any, helper: Any) -> None:
        """The fault itself."""
        if (number := LEADER_SIGNALS.get(self.fault)) is not None:
            leader.send_signal(number)
        elif self.fault == "full disk":
            verbs.fill()
        elif self.fault == "read-only folder":
            verbs.freeze()
        elif self.fault.endswith("a helper"):
            helper.send_signal(signal.SIGKILL if "kill" in self.fault else signal.SIGSTOP)
        else:
            kind = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}
            verbs.signal_worker(self.chance, kind[self.fault.split()[0]], leader)

    def aftermath(self, verbs: Verbs) -> set[str]:
        """What happens between the end and the resumption; the files that were taken away."""
        verbs.thaw()
        if self.fault == "deleted file":
            self.complaints += verbs.without_journal()
            return verbs.delete(self.chance)
        if self.fault == "clock":
            verbs.shift_times(self.chance)
        return set()

    def resume(self, verbs: Verbs) -> int:
        """Resume until the run is over; the number of attempts."""
        for attempt in range(1, RESUMES + 1):
            process = verbs.resume(self.verb)
            ended = verbs.ends(process)
            self.complaints += verbs.left_processes()
            if ended is None:
                self.complaints.append("the resumed run hangs")
                return attempt
            if ended == 0:
                return attempt
        self.complaints.append(f"not over after {RESUMES} resumptions: {verbs.last_words()}")
        return RESUMES


def end_all(folder: Path) -> None:
    """Kill whatever still works in a round's folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in " ".join([process.cwd(), *process.cmdline()]):
                process.kill()


if __name__ == "__main__":
    main()
