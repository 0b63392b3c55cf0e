"""What a search starts from: options, plan and run folder, anew or resumed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from memory_models.device import Machine
from tsplanner import runs
from tsplanner.commands.full_run import method_name
from tsplanner.commands.with_plan import find_plan, refuse_what_has_no_room
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import read_plan, write_plan
from tsplanner.planner.plan import Plan
from tsplanner.runs import SAVES
from tsplanner.tune.search.baseline import prior_learning_rate
from tsplanner.tune.search.space import Space, default_space, narrowed, rate_range, whole_numbers
from tsplanner.tune.study.storage import (
    DATABASE_FILE,
    JOURNAL_FILE,
    LOCK_FILE,
    check_place,
    holds_study,
)
from tsplanner.tune.study.study import TRIALS_FOLDER

SEARCH_PLAN = "search-plan.json"
"""The plan a search started from; plan.json becomes the one that was trained."""
SERVER_LOG = "server.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """What was asked for."""

    plan_path: Path | None = None
    saves: Path = SAVES
    run_folder: Path | None = None
    resume: bool = False
    join: Path | None = None
    """Run folder of a search that another process leads."""
    storage: str | None = None
    """URL of the database that keeps the study; None: a journal in the run folder."""
    trials: int = 8
    budget_seconds: float | None = None
    """Time for everything; None: as long as it takes."""
    trials_given: bool = True
    """Not so: a resumed search keeps the number it had."""
    jobs: int | None = None
    """Trials at once; None: by the machine."""
    pack: int | None = None
    """Trials that share one base; None: as many as pay, 1: none."""
    lora_rank: str | None = None
    learning_rate: str | None = None
    epochs: str | None = None
    force: bool = False
    """Search even where less memory is free than the plan needs."""
    as_json: bool = False


def plan_and_folder(options: TuneOptions, here: Machine) -> tuple[Plan, Path]:
    """The plan to search around, and the run folder; a resumed search brings both.

    Raises TsplannerError, before any folder is made, if the plan has no room on the machine.
    """
    folder = options.run_folder
    if folder is None and options.resume:
        folder = newest_search(options.saves)
    if folder is not None and holds_study(folder):
        if not options.resume:
            raise TsplannerError(
                f"{folder} holds a search already: add --resume to go on with it, or leave out "
                "--run-folder to start another."
            )
        given = options.plan_path
        plan = (
            read_plan(folder / SEARCH_PLAN) if given is None else find_plan(given, options.saves)[0]
        )
        refuse_what_has_no_room(plan, here, force=options.force)
        return plan, folder
    if options.resume:
        raise TsplannerError(f"{folder} holds no search to resume: leave out --resume.")
    plan = ensure_plan(options)
    search_space(options, plan)  # a range that is none is refused before anything is made
    if options.storage is not None:
        check_place(options.storage)
    refuse_what_has_no_room(plan, here, force=options.force)
    if folder is None:
        folder = runs.create_run_folder(options.saves, plan.model.name, method_name(plan))
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(plan, folder / SEARCH_PLAN)
    return plan, folder


def forget(folder: Path) -> None:
    """Take away a new run folder whose search was refused before its first trial."""
    if any((folder / TRIALS_FOLDER).glob("*")):
        return
    for name in (SEARCH_PLAN, SERVER_LOG, JOURNAL_FILE, LOCK_FILE, DATABASE_FILE):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder / TRIALS_FOLDER, folder):
        with contextlib.suppress(OSError):  # what is not ours stays
            empty.rmdir()


def ensure_plan(options: TuneOptions) -> Plan:
    """The plan named, else the newest one, else a new one for the model that ships here."""
    if options.plan_path is not None or any(options.saves.glob(f"*/{runs.PLAN_FILE}")):
        return find_plan(options.plan_path, options.saves)[0]
    from tsplanner.planner.gather.requests import Subject, plan_request
    from tsplanner.planner.rank import choose

    plan = choose(plan_request(Subject(), options.saves)).plan
    write_plan(plan, options.saves / runs.slug(plan.model.name) / runs.PLAN_FILE)
    return plan


def search_space(options: TuneOptions, plan: Plan) -> Space:
    """The default space with the user's ranges."""
    return narrowed(
        default_space(plan, prior_learning_rate(plan)),
        lora_ranks=options.lora_rank,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
    )


def refuse_other_ranges(options: TuneOptions, kept: Space) -> None:
    """Raise TsplannerError if ranges were given that are not those of the search resumed."""
    if options.lora_rank is not None:
        asked = set(whole_numbers(options.lora_rank, "--lora-rank"))
        # Of the ranks that were asked for, those that memory did not afford are not kept.
        _refuse_unless(set(kept.lora_ranks) <= asked, "--lora-rank", kept.lora_ranks)
    if options.epochs is not None:
        same = kept.epochs == whole_numbers(options.epochs, "--epochs")
        _refuse_unless(same, "--epochs", kept.epochs)
    if options.learning_rate is not None:
        same = kept.learning_rate == rate_range(options.learning_rate)
        _refuse_unless(same, "--learning-rate", kept.learning_rate)


def _refuse_unless(same: bool, flag: str, kept: tuple[float, ...]) -> None:
    if not same:
        raise TsplannerError(
            f"{flag} was {', '.join(f'{value:g}' for value in kept)} when this search began and "
            f"stays so: leave out {flag}, or search in a new run folder."
        )


def newest_search(saves: Path) -> Path:
    """The run folder whose study changed last."""
    names = (JOURNAL_FILE, DATABASE_FILE) if saves.is_dir() else ()
    journals = [path for name in names for path in saves.rglob(name)]
    if not journals:
        raise TsplannerError(f"No search under {saves} to resume: leave out --resume.")
    return max(journals, key=lambda path: path.stat().st_mtime_ns).parent
