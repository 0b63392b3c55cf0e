"""The flow of a search: open, prepare, search, confirm, train. Returns records, prints nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from memory_models.device import Machine
from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import folder_of_plan, method_name, write_plan
from tsplanner.planner.plan import Plan
from tsplanner.planner.replan import replan
from tsplanner.probe.preflight import free_now
from tsplanner.probe.runner import Server
from tsplanner.training.job import Status
from tsplanner.training.record import Record
from tsplanner.tune.budget.controller import Budget, BudgetController
from tsplanner.tune.budget.history import append_history, expected_costs
from tsplanner.tune.budget.schedule import MAX_TRIALS, max_searched
from tsplanner.tune.budget.words import refuse_too_short
from tsplanner.tune.confirmation import Decision, confirm
from tsplanner.tune.options import TRIALS, TuneOptions
from tsplanner.tune.run_folder import SEARCH_PLAN, find_start, refuse_other_ranges, search_space
from tsplanner.tune.runner.events import SearchListener
from tsplanner.tune.runner.feasible import Feasible, feasible_under
from tsplanner.tune.runner.gpus_per_trial import one_gpu_per_trial
from tsplanner.tune.runner.multi_lora import SharingChoice, choose_sharing, shares_cpu
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.runner.slots import Slots, choose_slots
from tsplanner.tune.search.acquisition import pairs_of
from tsplanner.tune.search.encoding import encode_space
from tsplanner.tune.search.space import suggested_learning_rate
from tsplanner.tune.study.study import TRIALS_FOLDER, Study
from tsplanner.tune.study.trial_result import TrialState

MAX_IN_FLIGHT = 8
"""Trials at once per slot in a search by time: a search with all trials at work learns nothing."""


@frozen
class OpenedSearch:
    """A run folder, and the plans of its search."""

    options: TuneOptions
    plan: Plan
    """The plan of the full run."""
    file: Path
    """The file that the plan was read from."""
    trial_plan: Plan
    """The plan that trials run by: one GPU each where that is faster."""
    folder: Path
    is_new: bool = False
    """This process has made the folder."""
    slots: Slots
    began: float
    """The moment that a budget counts from, by the monotonic clock."""


@frozen
class PreparedSearch:
    """A search that is ready to run."""

    opened: OpenedSearch
    study: Study
    feasible: Feasible
    trials: int
    """Number of trials of search and confirmation; within a budget the largest number."""
    sharing: SharingChoice
    controller: BudgetController | None
    """None: the search has no budget."""


def open_search(options: TuneOptions, here: Machine, began: float) -> OpenedSearch:
    """The plans, the run folder and the slots of a search on the machine ``here``.

    A run folder that was named is not made yet. Raises TsplannerError, before any folder is made,
    if the plan has no room on the machine.
    """
    start = find_start(options, here)
    plan = start.plan
    plan = replace(plan, free_bytes=free_now(plan, here))
    # A budget turns several GPUs into more trials, where that is faster than sharding each trial.
    alone = None if options.budget_seconds is None else one_gpu_per_trial(plan)
    trial_plan = plan if alone is None else alone
    slots = choose_slots(
        trial_plan,
        here=here,
        jobs=options.jobs,
        trials=asked_trials(options),
        shares_base=shares_cpu(trial_plan, options.concurrent_loras),
    )
    saves, folder = options.location.saves, start.folder
    if folder is None:
        own = folder_of_plan(saves, plan).name
        folder = runs.create_run_folder(saves, own, method_name(plan))
    return OpenedSearch(
        options=options,
        plan=plan,
        file=start.file,
        trial_plan=trial_plan,
        folder=folder,
        is_new=start.folder is None,
        slots=slots,
        began=began,
    )


def asked_trials(options: TuneOptions) -> int:
    """Number of trials of a new search; within a budget the largest number."""
    return options.trials or (TRIALS if options.budget_seconds is None else MAX_TRIALS)


def prepare(opened: OpenedSearch) -> PreparedSearch:
    """Open the study, lead it, and choose how its trials run.

    Raises TsplannerError if the study cannot be used, another process leads it, or the budget is
    too short.
    """
    options, plan = opened.options, opened.trial_plan
    feasible = feasible_under(plan, opened.slots)
    encoding = encode_space(
        plan.learning,
        search_space(options.space, plan),
        suggested_learning_rate(plan),
        lambda learning: feasible(learning)[0] <= 0,
    )
    opened.folder.mkdir(parents=True, exist_ok=True)
    study = Study(opened.folder, plan, encoding, options.location.storage)
    refuse_other_ranges(options.space, study.encoding.space)
    study.workers.lead()
    trials = asked_trials(options)
    if options.budget_seconds is None:
        trials = study.workers.total(trials, given=options.trials is not None)
    sharing = choose_sharing(
        plan,
        study.encoding.baseline,
        opened.slots,
        trials=_in_flight(opened, trials),
        asked=options.concurrent_loras,
    )
    controller = _controller(opened, feasible(study.encoding.baseline)[1], sharing, trials)
    # A search is one from here on: what was refused above has left no plan behind.
    kept = opened.folder / SEARCH_PLAN
    if not kept.is_file():
        write_plan(opened.plan, kept)
    return PreparedSearch(
        opened=opened,
        study=study,
        feasible=feasible,
        trials=trials,
        sharing=sharing,
        controller=controller,
    )


def _in_flight(opened: OpenedSearch, trials: int) -> int:
    """Number of trials of the search that are to run at once."""
    searched = max_searched(trials)
    if opened.options.budget_seconds is None:
        return searched
    return min(searched, MAX_IN_FLIGHT * opened.slots.jobs)


def _controller(
    opened: OpenedSearch, baseline_plan: Plan, sharing: SharingChoice, max_trials: int
) -> BudgetController | None:
    """The controller of the budget; raises TsplannerError if the budget is too short."""
    seconds, jobs, shared = opened.options.budget_seconds, opened.slots.jobs, sharing.multi_lora
    if seconds is None:
        return None
    costs, taught = expected_costs(
        baseline_plan,
        max_concurrent_trials=jobs * (1 if shared is None else shared.max_concurrent_trials),
        gain=jobs * (1.0 if shared is None else shared.gain),
    )
    refuse_too_short(costs, seconds)
    return BudgetController(
        costs,
        Budget(seconds=seconds, max_trials=max_trials, began=opened.began),
        trials_folder=opened.folder / TRIALS_FOLDER,
        always_renews=not taught,
    )


def search_and_confirm(
    prepared: PreparedSearch, server: Server | None, listeners: Sequence[SearchListener]
) -> Decision:
    """Run the trials, and decide on the settings of the full run.

    Raises TsplannerError if no trial completed, or if the baseline itself cannot be trained.
    """
    study, controller = prepared.study, prepared.controller
    folder = prepared.opened.folder / TRIALS_FOLDER
    with study:
        search = Search(
            study,
            prepared.feasible,
            folder,
            slots=prepared.opened.slots,
            server=server,
            listeners=listeners if controller is None else [controller, *listeners],
            multi_lora=prepared.sharing.multi_lora,
        )
        if controller is None:
            decision = decide_by_number(prepared.trials, study, search)
        else:
            decision = controller.decide(study, search)
        # No `finally` stands here: a search that was cut off is not over, and
        # its helpers must see so.
        study.workers.finish()
    if decision is None:
        raise TsplannerError(f"No trial finished: see the logs under {folder}.")
    return decision


def decide_by_number(trials: int, study: Study, search: Search) -> Decision | None:
    """Search and confirm by a number of trials; None if no trial completed."""
    pairs, earlier = pairs_of(trials), study.results()
    ran = sum(one.state is not TrialState.REJECTED and one.seed is None for one in earlier)
    search.run(trials - 2 * pairs - ran)
    return confirm(study, search, pairs)


def final_plan(prepared: PreparedSearch, decision: Decision) -> Plan:
    """The plan of the full run with the settings that were decided on."""
    return replan(prepared.opened.plan, decision.learning)


def train(
    prepared: PreparedSearch, decision: Decision, plan: Plan, full_run: Callable[[], Record]
) -> Record:
    """Start the full run of ``plan``, and keep what it took for the next search's prediction."""
    began = time.monotonic()
    record = full_run()
    controller = prepared.controller
    if controller is not None and controller.startup_seconds is not None:
        epochs = decision.baseline.optimization.num_train_epochs
        # The costs are those of the baseline's epochs, so a run of fewer
        # would teach a wrong factor.
        same = record.status is Status.OK and plan.learning.optimization.num_train_epochs == epochs
        same = same and record.steps >= plan.time.total_steps  # it may have ended early
        took = time.monotonic() - began if same else None
        append_history(prepared.opened.plan, controller.costs, took)
    return record
