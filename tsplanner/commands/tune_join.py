"""``tsplanner tune --join``: take trials of a search that another process leads."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from memory_models.device import Machine
from tsplanner.commands.tune import feasible_under, server_command, view_for
from tsplanner.commands.tune_start import SEARCH_PLAN, TuneOptions
from tsplanner.commands.with_plan import refuse_what_has_no_room
from tsplanner.errors import EXIT_INTERRUPTED, EXIT_OK, TsplannerError, UsageError
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.preflight import free_now
from tsplanner.processes import WarmServer
from tsplanner.tune.runner.multi_lora import choose_packs, packs_on_cpu
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.runner.slots import slots
from tsplanner.tune.study.remote import folder_of
from tsplanner.tune.study.storage import holds_study
from tsplanner.tune.study.study import Study

MANY_TRIALS = 64
"""More than any machine runs at once: how many are left is not known beforehand."""


def join(options: TuneOptions, here: Machine) -> int:
    """Help until no trial is left; 0 if the leader has decided by then, 130 if interrupted.

    Raises TsplannerError if there is nothing to help with, or the leader goes away.
    """
    folder = options.join or Path()
    if options.storage is not None and not holds_study(folder):
        folder = folder_of(str(options.join), options.storage, options.saves, SEARCH_PLAN)
    plan = plan_of(options, folder)
    refuse_what_has_no_room(plan, here, force=options.force)
    plan = replace(plan, free_bytes=free_now(plan, here))
    try:
        with Study(folder, plan, None, options.storage) as study:
            return help_with(study, options, here)
    except KeyboardInterrupt:
        print("\nInterrupted. What was under way here is left to the others.")
        return EXIT_INTERRUPTED


def plan_of(options: TuneOptions, folder: Path) -> Plan:
    """The plan that the search started from."""
    given = {
        "--resume": options.resume,
        "--run-folder": options.run_folder,
        "--plan": options.plan_path,
        "--lora-rank": options.lora_rank,
        "--learning-rate": options.learning_rate,
        "--epochs": options.epochs,
    }
    for flag, value in given.items():
        if value:
            raise UsageError(f"--join takes everything from the search it joins: leave out {flag}")
    if not holds_study(folder) or not (folder / SEARCH_PLAN).is_file():
        raise TsplannerError(
            f"{folder} holds no search to join: name the run folder that the first process prints."
        )
    return read_plan(folder / SEARCH_PLAN)


def help_with(study: Study, options: TuneOptions, here: Machine) -> int:
    """Take trials until the leader has decided."""
    plan, folder, leader = study.plan, study.folder, study.leader
    refuse_useless(study, leader)
    packed = packs_on_cpu(plan, options.pack)
    width = slots(plan, here=here, jobs=options.jobs, trials=MANY_TRIALS, packed=packed)
    feasible = feasible_under(plan, width)
    over, _ = feasible(study.where.default)
    if over > 0:
        raise TsplannerError(
            f"The search's largest trials need {over / 2**30:.2f} GiB more than is free here: give "
            "--jobs a smaller number, or free some memory."
        )
    packs, packing = choose_packs(
        plan, study.where.default, width, trials=study.wanted, asked=options.pack
    )
    if not options.as_json:
        at_once = f"{width.jobs} at once" if width.jobs > 1 else "one at a time"
        words = packing or f"{at_once}."
        print(f"Helping {leader} with the search in {folder}; {words}", flush=True)
    view = view_for(options)
    server = (
        nullcontext()
        if plan.hardware.sharding.world_size > 1
        else WarmServer(server_command(plan), log_path=folder / f"server-{os.getpid()}.log")
    )
    with server as warm, view:
        search = Search(
            study,
            feasible,
            folder / "trials",
            slots=width,
            server=warm,
            view=view,
            packs=packs,
        )
        search.help()
    return ended(study, options, leader)


def refuse_useless(study: Study, leader: str | None) -> None:
    """Raise TsplannerError for a search that nobody leads, or that cannot be shared."""
    folder = study.folder
    if not study.place.shared:
        raise TsplannerError(
            f"{study.place.shown} is for one process: share a journal in a folder, or PostgreSQL."
        )
    if study.over:
        raise TsplannerError(f"The search in {folder} is over: there is nothing to help with.")
    if leader is None:
        raise TsplannerError(
            f"Nobody leads the search in {folder} now: go on with  tsplanner tune --run-folder "
            f"{folder} --resume"
        )


def ended(study: Study, options: TuneOptions, leader: str | None) -> int:
    """Say what was done here; raises TsplannerError if the leader went away before its end."""
    if not study.over:
        raise TsplannerError(
            f"{leader}, which led the search, is gone, and no trial is left to take: go on with  "
            f"tsplanner tune --run-folder {study.folder} --resume"
        )
    mine = study.run_here()
    if options.as_json:
        print(json.dumps({"worker": study.name, "leader": leader, "trials": mine}))
    else:
        print(f"No more trials are wanted; {len(mine)} ended here. {leader} decides and trains.")
    return EXIT_OK
