"""A worker of a study as a process of its own: takes trials, waits, tells a loss, prints numbers.

study_worker.py FOLDER (lead|join|hang) [TRIALS] [URL]
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.support import tiny
from tests.support.searching import SPACE
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.encoding import encode_space
from tsplanner.tune.study.study import Result, Study
from tsplanner.tune.study.trial_result import TrialState


def opened(folder: Path, storage: str | None = None) -> Study:
    """The study of the tiny plan, whose data lie beside the run folder."""
    plan = tiny.plan(folder.parent)
    return Study(folder, plan, encode_space(plan.learning, SPACE, 3e-3, lambda _: True), storage)


def ended(number: int, learning: LearningSettings, seed: int | None = None) -> Result:
    """A trial whose loss is its rate."""
    return Result(
        number=number,
        learning=replace(learning, seed=42),
        state=TrialState.COMPLETED,
        eval_loss=1 + learning.optimization.learning_rate,
        message="",
        seed=seed,
    )


def say(line: str) -> None:
    """For the test that reads."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Take trials until none is left."""
    folder, role = Path(sys.argv[1]), sys.argv[2]
    study = opened(folder, sys.argv[4] if len(sys.argv) > 4 else None)
    if role == "lead":
        study.workers.lead()
        study.workers.want(int(sys.argv[3]))
    say(f"ready {study.workers.name}")
    sys.stdin.readline()
    while True:
        proposal = study.claim()
        if proposal is None:
            if not study.busy_elsewhere():
                return
            time.sleep(0.1)
            continue
        say(str(proposal.number))
        if role == "hang":
            time.sleep(600)
        study.report(proposal, 2.0, 1)
        time.sleep(0.05)
        study.tell(proposal, ended(proposal.number, proposal.learning, proposal.seed))


if __name__ == "__main__":
    main()
    os._exit(0)
