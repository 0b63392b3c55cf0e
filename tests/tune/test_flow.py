"""The flow of a search from a plan to a full run, with stand-in workers."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.searching import View, Worker
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import write_plan
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record
from tsplanner.tune import flow
from tsplanner.tune.budget.history import read_history
from tsplanner.tune.budget.schedule import MAX_TRIALS
from tsplanner.tune.options import TRIALS, SearchLocation, TuneOptions

OK = Record(status=Status.OK, kind=JobKind.TRAIN)


def options(folder: Path, *, resume: bool = False, **more: object) -> TuneOptions:
    """A search of the tiny plan in the folder ``run``."""
    path = folder / "plan.json"
    if not path.is_file():
        write_plan(tiny.plan(folder), path)
    location = SearchLocation(
        plan_path=None if resume else path,
        saves=folder / "saves",
        run_folder=folder / "run",
        resume=resume,
    )
    return TuneOptions(location=location, **more)  # type: ignore[arg-type]


def prepared(asked: TuneOptions, began: float = 0.0) -> flow.PreparedSearch:
    """A search that is ready to run on two cores."""
    return flow.prepare(flow.open_search(asked, tiny.machine(), began))


def falling(job: Job) -> float:
    """A higher rate is better on every seed."""
    return 5.0 - math.log(job.plan.learning.optimization.learning_rate)


def test_a_search_has_the_number_that_was_asked_for_or_a_default() -> None:
    """A budget alone has room for up to the largest number of trials."""
    assert flow.asked_trials(TuneOptions()) == TRIALS
    assert flow.asked_trials(TuneOptions(trials=3)) == 3
    assert flow.asked_trials(TuneOptions(budget_seconds=3600)) == MAX_TRIALS
    assert flow.asked_trials(TuneOptions(budget_seconds=3600, trials=3)) == 3


def test_opening_makes_nothing_and_reads_what_is_free(tmp_path: Path) -> None:
    """Of 12 GiB that the plan was made with 3 are free now: trials are judged by 3."""
    here = tiny.machine()
    here = replace(here, host=replace(here.host, available_bytes=3 * 2**30))
    opened = flow.open_search(options(tmp_path), here, began=1.5)
    assert opened.plan.free_bytes == 3 * 2**30
    assert opened.trial_plan == opened.plan
    assert (opened.folder, opened.began) == (tmp_path / "run", 1.5)
    assert opened.slots.jobs == 2
    assert not (tmp_path / "run").exists()
    flow.prepare(opened)
    assert (tmp_path / "run" / "search-plan.json").is_file()


def test_four_trials_are_two_of_the_search_and_one_pair(tmp_path: Path) -> None:
    """The baseline and three times its rate; then both on a fresh seed; the better one is used."""
    ready, worker, view = prepared(options(tmp_path, trials=4)), Worker(falling), View()
    decision = flow.search_and_confirm(ready, worker, [view])
    seeds = [result.seed for result in sorted(view.results, key=lambda one: one.number)]
    assert seeds == [None, None, 43, 43]
    assert not decision.keeps_baseline
    assert ready.study.workers.is_over
    full = flow.final_plan(ready, decision)
    assert full.learning == decision.learning
    assert full.hardware == ready.opened.plan.hardware
    fresh = [job.plan.learning for job in worker.jobs if job.plan.learning.seed == 43]
    assert {one.optimization.learning_rate for one in fresh} == {
        decision.baseline.optimization.learning_rate,
        decision.learning.optimization.learning_rate,
    }


def test_a_resumed_search_repeats_no_trial_and_decides_alike(tmp_path: Path) -> None:
    """The number of trials is the study's own, so --resume needs no --trials."""
    ready = prepared(options(tmp_path, trials=4))
    decision = flow.search_and_confirm(ready, Worker(falling), [])
    again, worker = prepared(options(tmp_path, resume=True)), Worker(falling)
    assert again.trials == 4
    assert flow.search_and_confirm(again, worker, []) == decision
    assert worker.jobs == []


def test_a_search_without_a_result_ends_in_a_sentence(tmp_path: Path) -> None:
    """Every trial diverged: there is nothing to decide by, and the logs are named."""
    worker = Worker(falling, Status.DIVERGED, "the loss is nan")
    with pytest.raises(TsplannerError, match=r"No trial finished: see the logs under .*trials\."):
        flow.search_and_confirm(prepared(options(tmp_path, trials=2)), worker, [])


def test_only_a_budget_needs_a_controller_and_a_short_one_is_refused(tmp_path: Path) -> None:
    """An hour has room for more than the full run of a tiny model; a second has not."""
    assert prepared(options(tmp_path)).controller is None
    (tmp_path / "more").mkdir()
    ready = prepared(options(tmp_path / "more", budget_seconds=3600.0))
    assert ready.controller is not None
    assert ready.controller.budget.seconds == 3600
    assert ready.trials == MAX_TRIALS
    (tmp_path / "less").mkdir()
    with pytest.raises(TsplannerError, match="--budget 1 s is too short"):
        prepared(options(tmp_path / "less", budget_seconds=1.0))


def test_what_a_full_run_took_teaches_the_next_search(tmp_path: Path) -> None:
    """Only a search within a budget has measured its parts, so only that one is remembered."""
    ready = prepared(options(tmp_path, trials=2))
    decision = flow.search_and_confirm(ready, Worker(falling), [])
    plan = flow.final_plan(ready, decision)
    assert flow.train(ready, decision, plan, lambda: OK) is OK
    assert read_history() == []
    (tmp_path / "more").mkdir()
    ready = prepared(options(tmp_path / "more", budget_seconds=3600.0, trials=2), time.monotonic())
    decision = flow.search_and_confirm(ready, Worker(falling), [])
    assert ready.controller is not None
    assert ready.controller.startup_seconds is not None
    flow.train(ready, decision, flow.final_plan(ready, decision), lambda: OK)
    (line,) = read_history()
    assert (line.kind.model, line.startup_seconds) == ("tiny", ready.controller.startup_seconds)
