"""``tsplanner tune``: search the few settings that matter, then train with the best."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from memory_models.device import Machine
from tsplanner import install, runs
from tsplanner.commands.inputs.options import (
    add_force_argument,
    add_plan_argument,
    add_random_weights_argument,
)
from tsplanner.commands.inputs.values import budget_seconds, path, positive
from tsplanner.commands.train import say_finished
from tsplanner.commands.views.interrupted import say_interrupted
from tsplanner.commands.views.plan_file import plan_line
from tsplanner.commands.views.run import (
    outcome_lines,
    print_random_weights,
    run_document,
    use_lines,
)
from tsplanner.commands.views.tune import SearchView, helping_line, opening_lines, view_for
from tsplanner.commands.work.full_run import FullRun, start_full_run
from tsplanner.commands.work.sampled_answers import (
    add_samples_arguments,
    asked_samples,
    begun_with,
    sized,
)
from tsplanner.commands.work.trackers import add_trackers_argument, require_trackers
from tsplanner.console import command
from tsplanner.errors import EXIT_FAILURE, EXIT_OK, TsplannerError
from tsplanner.folders.owner import RunFolder, refuse_led
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.explain.sentences import CHINESE
from tsplanner.planner.files import read_plan
from tsplanner.probe.finished import FinishedRun, finished_run, is_over
from tsplanner.probe.runner import JOB_FILE, Server
from tsplanner.processes.signals import signals_as_interrupts
from tsplanner.report.page import Both
from tsplanner.training.job import Extras, Status
from tsplanner.trust import add_trust_argument
from tsplanner.tune import flow, joining
from tsplanner.tune.budget.words import budget_document, renewal_words, took_words
from tsplanner.tune.confirmation import Decision
from tsplanner.tune.options import TRIALS, SearchLocation, SpaceOptions, TuneOptions
from tsplanner.tune.run_folder import (
    SEARCH_FILES,
    SEARCH_PLAN,
    folder_asked,
    has_trials,
    holds_search,
    refuse_begun,
)
from tsplanner.tune.runner.multi_lora import (
    AUTO,
    FLAG,
    concurrent_loras,
)
from tsplanner.tune.runner.server import server_for
from tsplanner.tune.sentences import decision_document, decision_sentence

EPILOG = """examples:
  tsplanner tune --trials 8
  tsplanner tune --budget 3h
  tsplanner tune --plan saves/chatts-14b/plan.json --lora-rank 8,16 --learning-rate 1e-4..1e-3
  tsplanner tune --resume
  tsplanner tune --join saves/chatts-14b/lora/20261123-1      a second GPU, on the same search
"""
DECISION_FILE = "tune.json"
"""In a run's folder: what was decided and how the full run ended; the last file of a search."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the verb."""
    parser.epilog = EPILOG
    add_plan_argument(parser)
    parser.add_argument(
        "--trials",
        type=positive,
        metavar="N",
        help=f"most trials [{TRIALS}, or what --budget has room for]",
    )
    parser.add_argument(
        "--budget",
        type=budget_seconds,
        metavar="T",
        help="time for everything, the full run included, such as 90m or 1h30m [none]",
    )
    parser.add_argument(
        "--run-folder", type=path, metavar="FOLDER", help="where to search and train [a new one]"
    )
    parser.add_argument("--resume", action="store_true", help="go on with a search cut off")
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="trials at once [by the machine]"
    )
    parser.add_argument(
        FLAG,
        default=AUTO,
        metavar="auto|off|K",
        help="LoRA trials that share one base [%(default)s]",
    )
    # The flag's name before; to be removed one release after 0.1.
    hidden = argparse.SUPPRESS
    parser.add_argument("--pack", dest="concurrent_loras", default=hidden, help=hidden)
    parser.add_argument(
        "--join", type=path, metavar="FOLDER|NAME", help="help a search that another leads [none]"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="postgresql://user@host/database, password in PGPASSWORD [a journal in the folder]",
    )
    add_random_weights_argument(parser)
    add_force_argument(parser, "with --resume, train the full run anew")
    add_trackers_argument(parser)
    add_samples_arguments(parser)
    add_trust_argument(parser)
    group = parser.add_argument_group("search space [by method, model and rows]")
    group.add_argument("--lora-rank", metavar="4,8,16", help="ranks to try")
    group.add_argument("--learning-rate", metavar="1e-5..1e-3", help="lowest and highest rate")
    group.add_argument("--epochs", metavar="1,2,3", help="numbers of epochs to try")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Call `run` or `join` with the parsed flags."""
    install.require("tune", install.SEARCHING)
    options = TuneOptions(
        location=SearchLocation(
            plan_path=namespace.plan,
            saves=namespace.saves,
            run_folder=namespace.run_folder,
            resume=namespace.resume,
            storage=namespace.storage,
        ),
        space=SpaceOptions(
            lora_rank=namespace.lora_rank,
            learning_rate=namespace.learning_rate,
            epochs=namespace.epochs,
        ),
        trials=namespace.trials,
        budget_seconds=namespace.budget,
        jobs=namespace.jobs,
        concurrent_loras=concurrent_loras(namespace.concurrent_loras),
        force=namespace.force,
        random_weights=namespace.random_weights,
        report_to=tuple(map(str, namespace.report_to)),
        samples=asked_samples(namespace),
    )
    require_trackers(namespace.report_to)
    if namespace.join is not None:
        return join(namespace.join, options, as_json=namespace.json)
    return run(options, as_json=namespace.json)


def run(options: TuneOptions, *, as_json: bool = False, here: Machine | None = None) -> int:
    """Search, decide, train; 0 if the full run finished, 130 (143, 129) if interrupted.

    A search whose full run is over is left as it is, unless forced. ``here`` stands in for this
    machine. Raises TsplannerError for a search that cannot be run.
    """
    began = time.monotonic()
    if not options.force and (done := finished_search(options.location)) is not None:
        if not as_json:
            print(plan_line(done.folder / runs.PLAN_FILE), flush=True)
        say_finished(done, as_json=as_json)
        return EXIT_OK
    with signals_as_interrupts():
        opened = flow.open_search(options, here or detect_machine(), began)
        if not as_json:
            print(plan_line(opened.file), flush=True)
        try:
            saves, is_new = options.location.saves, opened.is_new
            with RunFolder(opened.folder, "tune", saves=saves, is_new=is_new) as claimed:
                return search_in(claimed, opened, as_json=as_json)
        except KeyboardInterrupt as error:
            again = command("tune", "--run-folder", opened.folder, "--resume")
            begun = holds_search(opened.folder)
            advice = f"Go on with  {again}" if begun else "The search had not begun."
            return say_interrupted(error, advice, as_json=as_json)


def finished_search(location: SearchLocation) -> FinishedRun | None:
    """The full run of the search that is to be resumed, if all of it is over.

    Raises TsplannerError if another process leads the search, or the trained weights are gone.
    """
    folder = folder_asked(location) if location.resume else None
    if folder is None or not holds_search(folder):
        return None
    refuse_led(folder)
    # The decision is written last: without it something is left to do.
    if not is_over(folder) or not (folder / DECISION_FILE).is_file():
        return None
    return finished_run(folder, read_plan(folder / runs.PLAN_FILE))


def search_in(claimed: RunFolder, opened: flow.OpenedSearch, *, as_json: bool) -> int:
    """Search in a folder that this process leads; a refused search leaves nothing of its own."""
    if not opened.options.location.resume:
        # Another process may have searched there between the first look and the claim.
        refuse_begun(opened.folder)
    try:
        # The server is started first, so that it imports while the study is opened.
        with server_for(opened.trial_plan, opened.folder) as server:
            return search_and_train(opened, server, as_json=as_json)
    except (TsplannerError, KeyboardInterrupt):
        # A resumed folder holds an earlier search, which a refusal must not cost.
        if not opened.options.location.resume and not has_trials(opened.folder):
            claimed.undo(SEARCH_FILES)
        raise


def search_and_train(opened: flow.OpenedSearch, server: Server | None, *, as_json: bool) -> int:
    """Search and full run on a server that is up, where there is one; 0 if the run finished."""
    sized(opened.plan, opened.options.samples)
    prepared = flow.prepare(opened)
    budgeted = prepared.controller is not None
    view = view_for(None if budgeted else prepared.trials, as_json=as_json)
    say_what_comes(prepared, view, as_json=as_json)
    with view:
        view.recall(prepared.study.results())
        decision = flow.search_and_confirm(prepared, server, [view])
    return train_best(prepared, decision, server, as_json=as_json)


def say_what_comes(prepared: flow.PreparedSearch, view: SearchView, *, as_json: bool) -> None:
    """Print how the search is kept and what it will do; let the view tell of new schedules."""
    storage, controller = prepared.study.storage, prepared.controller
    if not storage.is_shared:
        print(f"{storage.display_name} is for one process: no --join.", file=sys.stderr)
    if controller is not None:
        seconds = controller.budget.seconds
        controller.on_renewal = lambda planned, costs: view.say(
            renewal_words(planned, costs, seconds)
        )
    if as_json:
        return
    if storage.is_remote:
        words = command("tune", "--join", storage.name, "--storage", storage.display_name)
        print(f"Help from elsewhere:  {words}", flush=True)
    print("\n".join(opening_lines(prepared)), flush=True)
    print_random_weights(prepared.opened.plan)


def train_best(
    prepared: flow.PreparedSearch, decision: Decision, server: Server | None, *, as_json: bool
) -> int:
    """Run the full run with the settings decided on; 0 if it finished."""
    options, plan = prepared.opened.options, flow.final_plan(prepared, decision)
    folder, sentence = prepared.opened.folder, decision_sentence(decision)
    try:
        samples = sized(plan, options.samples or begun_with(folder))
    except TsplannerError as error:
        samples = None  # the search began with room for them; a wider rank has none
        print(error, file=sys.stderr)
    full = FullRun(
        plan=plan,
        folder=folder,
        saves=options.location.saves,
        # A search may have been cut off during its full run, which then goes on.
        resume=(folder / JOB_FILE).is_file(),
        anew=options.force and is_over(folder),
        shown=not as_json,
        extras=Extras(report_to=options.report_to, samples=samples),
        server=server,
        remarks=[Both(english=sentence, chinese=decision_sentence(decision, CHINESE))],
    )
    if not as_json:
        print(f"\n{sentence}", flush=True)
    record = flow.train(prepared, decision, full.plan, lambda: start_full_run(full))
    controller = prepared.controller
    document = run_document(folder, record)
    document |= {"decision": decision_document(decision), "multi_lora": prepared.sharing.sentence}
    document |= {} if controller is None else budget_document(controller)
    runs.write_json(folder / DECISION_FILE, document)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        found = outcome_lines(full.plan, folder, record)
        print("\n".join([*found, *use_lines(full.plan, folder, record)]))
        if controller is not None:
            print(took_words(controller))
    return EXIT_OK if record.status is Status.OK else EXIT_FAILURE


def join(
    target: Path, options: TuneOptions, *, as_json: bool = False, here: Machine | None = None
) -> int:
    """Help until no trial is left; 0 if the leader has decided by then, 130 if interrupted.

    ``target`` is a run folder, or a study's name in the database. Raises TsplannerError if there is
    nothing to help with, or if the leader goes away.
    """
    here = here or detect_machine()
    try:
        with signals_as_interrupts(), joining.open_joined(target, options, here) as study:
            joined = joining.prepare_to_help(study, options, here)
            if not as_json:
                print(plan_line(study.folder / SEARCH_PLAN), flush=True)
                print(helping_line(joined), flush=True)
            number = None if options.budget_seconds else options.trials or TRIALS
            view = view_for(number, as_json=as_json)
            # Several helpers may share the folder, which also holds the log of the leader's server.
            log = f"server-{os.getpid()}.log"
            with server_for(study.plan, study.folder, log) as server, view:
                ended = joining.help_search(joined, server, [view])
            return say_what_was_done(joined, ended, as_json=as_json)
    except KeyboardInterrupt as error:
        return say_interrupted(
            error, "What was under way here is left to the others.", as_json=as_json
        )


def say_what_was_done(joined: joining.JoinedSearch, ended: list[int], *, as_json: bool) -> int:
    """Print which trials ended here."""
    leader = joined.leader
    if as_json:
        worker = joined.study.workers.name
        print(json.dumps({"worker": worker, "leader": leader, "trials": ended}))
    else:
        print(f"No more trials are wanted; {len(ended)} ended here. {leader} decides and trains.")
    return EXIT_OK
