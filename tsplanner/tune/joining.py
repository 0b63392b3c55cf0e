"""Helps with a search that another process leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.units import GIB
from tsplanner.console import command
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.preflight import free_now, refuse_what_has_no_room
from tsplanner.probe.runner import Server
from tsplanner.tune.options import TuneOptions
from tsplanner.tune.run_folder import SEARCH_PLAN
from tsplanner.tune.runner.events import SearchListener
from tsplanner.tune.runner.feasible import Feasible, feasible_under
from tsplanner.tune.runner.multi_lora import SharingChoice, choose_sharing, shares_cpu
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.runner.slots import Slots, choose_slots
from tsplanner.tune.study.remote import folder_of
from tsplanner.tune.study.storage import holds_study
from tsplanner.tune.study.study import TRIALS_FOLDER, Study

MANY_TRIALS = 64
"""More trials than any machine runs at once: the number that is left is not known beforehand."""


@frozen
class JoinedSearch:
    """A search of another process that this one is ready to help with."""

    study: Study
    leader: str | None
    slots: Slots
    feasible: Feasible
    sharing: SharingChoice


def open_joined(target: Path, options: TuneOptions, here: Machine) -> Study:
    """The study to help with; ``target`` is a run folder, or a study's name in the database.

    Raises TsplannerError if there is no such study or its plan has no room here, and UsageError for
    options that the joined search sets itself.
    """
    folder, location = target, options.location
    if location.storage is not None and not holds_study(folder):
        folder = folder_of(str(target), location.storage, location.saves, SEARCH_PLAN)
    plan = _plan_of(options, folder)
    # Whoever leads the search has answered for the weights; the files are looked at here, too.
    refuse_what_has_no_room(plan, here, force=options.force, random_weights=True)
    # The space stays the leader's, but which of its trials fit depends on this machine's memory.
    plan = replace(plan, free_bytes=free_now(plan, here))
    return Study(folder, plan, None, location.storage)


def _plan_of(options: TuneOptions, folder: Path) -> Plan:
    """The plan that the search started from."""
    given = {
        "--resume": options.location.resume,
        "--run-folder": options.location.run_folder,
        "--plan": options.location.plan_path,
        "--lora-rank": options.space.lora_rank,
        "--learning-rate": options.space.learning_rate,
        "--epochs": options.space.epochs,
    }
    for flag, value in given.items():
        if value:
            raise UsageError(f"--join takes everything from the search it joins: leave out {flag}")
    if not holds_study(folder) or not (folder / SEARCH_PLAN).is_file():
        raise TsplannerError(
            f"{folder} holds no search to join: name the run folder that the first process prints."
        )
    return read_plan(folder / SEARCH_PLAN)


def prepare_to_help(study: Study, options: TuneOptions, here: Machine) -> JoinedSearch:
    """Choose how this process helps.

    Raises TsplannerError if the search cannot be helped with or its largest trials do not fit.
    """
    plan, leader = study.plan, study.workers.leader
    refuse_useless(study, leader)
    slots = choose_slots(
        plan,
        here=here,
        jobs=options.jobs,
        trials=MANY_TRIALS,
        shares_base=shares_cpu(plan, options.concurrent_loras),
    )
    feasible = feasible_under(plan, slots)
    over, _ = feasible(study.encoding.baseline)
    if over > 0:
        raise TsplannerError(
            f"The search's largest trials need {over / GIB:.2f} GiB more than is free here: give "
            "--jobs a smaller number, or free some memory."
        )
    sharing = choose_sharing(
        plan,
        study.encoding.baseline,
        slots,
        trials=study.workers.wanted,
        asked=options.concurrent_loras,
    )
    return JoinedSearch(study=study, leader=leader, slots=slots, feasible=feasible, sharing=sharing)


def refuse_useless(study: Study, leader: str | None) -> None:
    """Raise TsplannerError for a search that cannot be shared, is over, or has no leader."""
    folder = study.folder
    if not study.storage.is_shared:
        raise TsplannerError(
            f"{study.storage.display_name} is for one process: share a journal in a folder, or "
            "PostgreSQL."
        )
    if study.workers.is_over:
        raise TsplannerError(f"The search in {folder} is over: there is nothing to help with.")
    if leader is None:
        raise TsplannerError(
            f"Nobody leads the search in {folder} now: go on with  "
            + command("tune", "--run-folder", folder, "--resume")
        )


def help_search(
    joined: JoinedSearch, server: Server | None, listeners: Sequence[SearchListener]
) -> list[int]:
    """Run trials until the leader has decided; the numbers of those that ended here.

    Raises TsplannerError if the leader went away before its end.
    """
    study = joined.study
    Search(
        study,
        joined.feasible,
        study.folder / TRIALS_FOLDER,
        slots=joined.slots,
        server=server,
        listeners=listeners,
        multi_lora=joined.sharing.multi_lora,
    ).help()
    if not study.workers.is_over:
        raise TsplannerError(
            f"{joined.leader}, which led the search, is gone, and no trial is left to claim: go on "
            f"with  {command('tune', '--run-folder', study.folder, '--resume')}"
        )
    return study.workers.trials_run_here()
