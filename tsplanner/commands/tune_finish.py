"""What ``tune`` ends with: the full run with the settings that were decided on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec

from tsplanner import runs
from tsplanner.commands.full_run import FullRun, outcome_lines, run_document, start_full_run
from tsplanner.commands.tune_budget import budget_document, remember, taken_words
from tsplanner.commands.tune_start import TuneOptions
from tsplanner.errors import EXIT_FAILURE, EXIT_OK
from tsplanner.planner.plan import Plan
from tsplanner.planner.replan import replan
from tsplanner.processes import WarmServer
from tsplanner.training.job import Status
from tsplanner.tune.budget.controller import Clock
from tsplanner.tune.confirmation import Decision


def train_best(
    options: TuneOptions,
    plan: Plan,
    folder: Path,
    decision: Decision,
    server: WarmServer | None,
    clock: Clock | None = None,
    *,
    packing: str = "",
) -> int:
    """The full run with the settings decided on; ``packing``: how trials shared a base."""
    best = replan(plan, decision.learning)
    full = FullRun(
        plan=best,
        folder=folder,
        saves=options.saves,
        resume=(folder / "job.json").is_file(),
        shown=not options.as_json,
        server=server,
        remarks=[decision.sentence],
    )
    if not options.as_json:
        print(f"\n{decision.sentence}", flush=True)
    full_began = time.monotonic()
    record = start_full_run(full)
    document = run_document(full, record)
    document |= {"decision": decision_document(decision), "packing": packing}
    if clock is not None:
        epochs_of_trials = decision.default.optimization.num_train_epochs
        same = (
            record.status is Status.OK
            and best.learning.optimization.num_train_epochs == epochs_of_trials
        )
        remember(plan, clock, time.monotonic() - full_began if same else None)
        document |= budget_document(clock)
    runs.write_json(folder / "tune.json", document)
    if options.as_json:
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(outcome_lines(full, record)))
        if clock is not None:
            print(taken_words(clock))
    return EXIT_OK if record.status is Status.OK else EXIT_FAILURE


def decision_document(decision: Decision) -> dict[str, Any]:
    """The decision as plain values."""
    value: dict[str, Any] = msgspec.to_builtins(decision)
    return value
