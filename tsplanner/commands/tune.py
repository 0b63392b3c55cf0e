"""``tsplanner tune``: search the few settings that matter, then train with the best."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from memory_models.device import Machine
from tsplanner.commands.tune_budget import (
    budget_span,
    promise_words,
    start_clock,
)
from tsplanner.commands.tune_finish import train_best
from tsplanner.commands.tune_start import (
    SERVER_LOG,
    TuneOptions,
    forget,
    plan_and_folder,
    refuse_other_ranges,
    search_space,
)
from tsplanner.commands.values import positive
from tsplanner.commands.views.tune import LiveView, PlainView, QuietView, opening_lines
from tsplanner.commands.with_plan import (
    add_force_argument,
    add_plan_argument,
    interactive,
)
from tsplanner.errors import EXIT_INTERRUPTED, TsplannerError
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.plan import LearningSettings, Plan
from tsplanner.planner.replan import replan
from tsplanner.planner.space.rules import BITSANDBYTES_OPTIMIZERS
from tsplanner.probe.preflight import free_now
from tsplanner.processes import SERVER_COMMAND, WarmServer
from tsplanner.tune.budget.controller import Clock, TimedView
from tsplanner.tune.budget.schedule import MOST_TRIALS, searched_at_most
from tsplanner.tune.confirmation import Decision, last_word
from tsplanner.tune.runner.gpus_per_trial import side_by_side
from tsplanner.tune.runner.multi_lora import AUTO, choose_packs, packs_on_cpu, places_asked
from tsplanner.tune.runner.runner import Feasible, Search
from tsplanner.tune.runner.slots import Slots, slots
from tsplanner.tune.search.acquisition import pairs_of
from tsplanner.tune.search.baseline import prior_learning_rate
from tsplanner.tune.search.encoding import places
from tsplanner.tune.study.study import Study
from tsplanner.tune.study.trial_result import TrialState

EPILOG = """examples:
  tsplanner tune --trials 8
  tsplanner tune --budget 3h
  tsplanner tune --plan saves/chatts-14b/plan.json --lora-rank 8,16 --learning-rate 1e-4..1e-3
  tsplanner tune --resume
  tsplanner tune --join saves/chatts-14b/lora/20261123-1      a second GPU, on the same search
"""
TRIALS = 8
MOST_IN_FLIGHT = 8
"""On one GPU in a search by time: a search that has all trials at work learns nothing from any."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_plan_argument(parser)
    parser.add_argument(
        "--trials", type=positive, metavar="N", help=f"[{TRIALS}, or what --budget has room for]"
    )
    parser.add_argument(
        "--budget",
        type=budget_span,
        metavar="T",
        help="time for everything, the full run included, as 3h, 90m or 1h30m",
    )
    parser.add_argument("--run-folder", type=Path, metavar="FOLDER", help="[a new one]")
    parser.add_argument("--resume", action="store_true", help="go on with a search cut off")
    parser.add_argument("--jobs", type=positive, metavar="N", help="at once [by the machine]")
    parser.add_argument(
        "--pack",
        default=AUTO,
        metavar="auto|off|K",
        help="trials that share one base [%(default)s]",
    )
    parser.add_argument(
        "--join", type=Path, metavar="FOLDER|NAME", help="help a search that another leads"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="postgresql://user@host/database, password in PGPASSWORD [a journal in the folder]",
    )
    add_force_argument(parser)
    group = parser.add_argument_group("search space [by method, model and rows]")
    group.add_argument("--lora-rank", metavar="4,8,16")
    group.add_argument("--learning-rate", metavar="1e-5..1e-3")
    group.add_argument("--epochs", metavar="1,2,3")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Call `run` with what was parsed."""
    return run(
        TuneOptions(
            plan_path=namespace.plan,
            saves=namespace.saves,
            run_folder=namespace.run_folder,
            resume=namespace.resume,
            join=namespace.join,
            storage=namespace.storage,
            trials_given=namespace.trials is not None,
            trials=namespace.trials or (MOST_TRIALS if namespace.budget else TRIALS),
            budget_seconds=namespace.budget,
            jobs=namespace.jobs,
            pack=places_asked(namespace.pack),
            lora_rank=namespace.lora_rank,
            learning_rate=namespace.learning_rate,
            epochs=namespace.epochs,
            force=namespace.force,
            as_json=namespace.json,
        )
    )


def run(options: TuneOptions, here: Machine | None = None) -> int:
    """Search, decide, train; 0 if the full run finished, 130 if interrupted.

    ``here`` stands in for this machine.
    """
    began = time.monotonic()
    here = detect_machine() if here is None else here
    if options.join is not None:
        from tsplanner.commands.tune_join import join

        return join(options, here)
    plan, folder = plan_and_folder(options, here)
    plan = replace(plan, free_bytes=free_now(plan, here))
    # Of several GPUs a budget makes more trials, where that is faster than more ranks.
    alone = None if options.budget_seconds is None else side_by_side(plan)
    trial = plan if alone is None else alone
    packed = packs_on_cpu(trial, options.pack)
    width = slots(trial, here=here, jobs=options.jobs, trials=options.trials, packed=packed)
    try:
        with server_for(trial, folder) as server:
            return tune(options, plan, trial, folder, server, width, began)
    except TsplannerError:
        if not options.resume:
            forget(folder)
        raise
    except KeyboardInterrupt:
        print(f"\nInterrupted. Go on with  tsplanner tune --run-folder {folder} --resume")
        return EXIT_INTERRUPTED


def server_for(plan: Plan, folder: Path) -> WarmServer | nullcontext[None]:
    """A warm server for trials of one process; trials of several ranks are started by torchrun."""
    if plan.hardware.world_size > 1:
        return nullcontext()
    return WarmServer(server_command(plan), log_path=folder / SERVER_LOG)


def server_command(plan: Plan) -> tuple[str, ...]:
    """The warm server's command; it hides what starts CUDA when imported, unless the plan needs it.

    With such a library in sight every trial pays for its own imports.
    """
    hardware = plan.hardware
    bitsandbytes = hardware.quantization or hardware.optimizer in BITSANDBYTES_OPTIMIZERS
    if hardware.accelerator == "cpu" or bitsandbytes or hardware.zero_stage:
        return SERVER_COMMAND
    return (*SERVER_COMMAND, "--without", "bitsandbytes,deepspeed")


def tune(
    options: TuneOptions,
    plan: Plan,
    trial: Plan,
    folder: Path,
    server: WarmServer | None,
    width: Slots,
    began: float,
) -> int:
    """Search and full run, on a server that is up where there is one.

    ``trial``: the plan that trials run by, ``plan``: that of the full run; ``began``: when the
    budget began.
    """
    feasible = feasible_under(trial, width)
    where = places(
        trial.learning,
        search_space(options, trial),
        prior_learning_rate(trial),
        lambda learning: feasible(learning)[0] <= 0,
    )
    study = Study(folder, trial, where, options.storage)
    where = study.where
    refuse_other_ranges(options, where.space)
    if study.place.apart and not options.as_json:
        name, shown = study.place.name, study.place.shown
        print(f"Help from elsewhere:  tsplanner tune --join {name} --storage {shown}", flush=True)
    if not study.place.shared:
        print(f"{study.place.shown} is for one process: no --join.", file=sys.stderr)
    study.recover()
    if options.budget_seconds is None:
        total = study.total(options.trials, given=options.trials_given)
        options = replace(options, trials=total)
    view = view_for(options)
    in_flight = searched_at_most(options.trials)
    if options.budget_seconds is not None:
        in_flight = min(in_flight, MOST_IN_FLIGHT * width.jobs)
    packs, packing = choose_packs(trial, where.default, width, trials=in_flight, asked=options.pack)
    clock: Clock | None = None
    if options.budget_seconds is not None:
        clock = start_clock(
            feasible(where.default)[1],
            options.budget_seconds,
            options.trials,
            places=width.jobs * (1 if packs is None else packs.places),
            gain=width.jobs * (1.0 if packs is None else packs.gain),
            folder=folder / "trials",
            began=began,
            say=view.say,
        )
    if not options.as_json:
        together = 1 if packs is None else packs.places
        lines = opening_lines(trial, where, width, options.trials, together)
        if clock is not None:
            lines[-1] = f"{promise_words(clock.schedule, clock.costs, clock.budget)}."
        print("\n".join([*lines, *([packing] if packing else [])]), flush=True)
    with study, view:
        view.recall(study.results())
        search = Search(
            study,
            feasible,
            folder / "trials",
            slots=width,
            server=server,
            view=view if clock is None else TimedView(view, clock),
            packs=packs,
        )
        if clock is None:
            decision = decide(options.trials, study, search)
        else:
            decision = clock.decide(study, search)
        study.finish()
    if decision is None:
        raise TsplannerError(f"No trial finished: see the logs under {folder / 'trials'}.")
    return train_best(options, plan, folder, decision, server, clock, packing=packing)


def decide(trials: int, study: Study, search: Search) -> Decision | None:
    """Search and last word by a number of trials; None if no trial finished."""
    pairs, earlier = pairs_of(trials), study.results()
    ran = sum(one.state is not TrialState.REJECTED and one.seed is None for one in earlier)
    search.run(trials - 2 * pairs - ran)
    return last_word(study, search, pairs)


def feasible_under(plan: Plan, width: Slots) -> Feasible:
    """How far over the free memory a trial is, with its neighbours running beside it.

    A plan that is tight by its 95 % bound was accepted as it is; only what needs more is refused.
    """
    together = width.together
    allowed = max(plan.free_bytes, together * plan.memory.process_bytes.upper)

    def feasible(learning: LearningSettings) -> tuple[int, Plan]:
        try:
            planned = replan(plan, learning)
        except (TsplannerError, ValueError):
            return plan.free_bytes, plan
        planned = replace(planned, free_bytes=plan.free_bytes)
        return together * planned.memory.process_bytes.upper - allowed, planned

    return feasible


def view_for(options: TuneOptions) -> QuietView:
    """A live table, plain lines, or nothing."""
    if options.as_json:
        return QuietView()
    trials = None if options.budget_seconds else options.trials
    return LiveView(trials) if interactive() else PlainView()
