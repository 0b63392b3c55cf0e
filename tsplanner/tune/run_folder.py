"""The plan and the run folder that a search starts from, new or resumed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from memory_models.device import Machine
from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import find_plan, method_name, read_plan, write_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.preflight import refuse_what_has_no_room
from tsplanner.tune.options import SpaceOptions, TuneOptions
from tsplanner.tune.runner.server import SERVER_LOG
from tsplanner.tune.search.space import (
    Space,
    default_space,
    narrowed,
    rate_range,
    suggested_learning_rate,
    whole_numbers,
)
from tsplanner.tune.study.storage import (
    DATABASE_FILE,
    JOURNAL_FILE,
    LOCK_FILE,
    check_storage_url,
    holds_study,
)
from tsplanner.tune.study.study import TRIALS_FOLDER

SEARCH_PLAN = "search-plan.json"
"""The plan that a search started from; plan.json becomes the one that was trained."""


def open_run_folder(options: TuneOptions, here: Machine) -> tuple[Plan, Path]:
    """The plan to search around, and the run folder; a resumed search brings both.

    Raises TsplannerError, before any folder is made, if the plan has no room on the machine.
    """
    location = options.location
    folder = location.run_folder
    if folder is None and location.resume:
        folder = newest_search(location.saves)
    if folder is not None and holds_study(folder):
        return _resumed_plan(options, folder, here), folder
    if location.resume:
        raise TsplannerError(f"{folder} holds no search to resume: leave out --resume.")
    plan = _plan_to_search(options)
    search_space(options.space, plan)  # a bad range is refused before anything is made
    if location.storage is not None:
        check_storage_url(location.storage)
    refuse_what_has_no_room(plan, here, force=options.force, random_weights=options.random_weights)
    if folder is None:
        folder = runs.create_run_folder(location.saves, plan.model.name, method_name(plan))
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(plan, folder / SEARCH_PLAN)
    return plan, folder


def _resumed_plan(options: TuneOptions, folder: Path, here: Machine) -> Plan:
    location = options.location
    if not location.resume:
        raise TsplannerError(
            f"{folder} holds a search already: add --resume to go on with it, or leave out "
            "--run-folder to start another."
        )
    if location.plan_path is None:
        plan = read_plan(folder / SEARCH_PLAN)
    else:
        plan, _ = find_plan(location.plan_path, location.saves)
    # A search that is resumed was begun with the flag, or before there was one.
    refuse_what_has_no_room(plan, here, force=options.force, random_weights=True)
    return plan


def _plan_to_search(options: TuneOptions) -> Plan:
    """The plan named, else the newest one, else a new one for the model that ships here."""
    saves, given = options.location.saves, options.location.plan_path
    if given is not None or any(saves.glob(f"*/{runs.PLAN_FILE}")):
        return find_plan(given, saves)[0]
    from tsplanner.planner.gather.requests import Subject, plan_request
    from tsplanner.planner.rank import choose

    plan = choose(plan_request(Subject(), saves)).plan
    write_plan(plan, saves / runs.slug(plan.model.name) / runs.PLAN_FILE)
    return plan


def forget(folder: Path) -> None:
    """Remove a new run folder whose search was refused before its first trial."""
    if any((folder / TRIALS_FOLDER).glob("*")):
        return
    for name in (SEARCH_PLAN, SERVER_LOG, JOURNAL_FILE, LOCK_FILE, DATABASE_FILE):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder / TRIALS_FOLDER, folder):
        with contextlib.suppress(OSError):  # files of other origin stay
            empty.rmdir()


def search_space(asked: SpaceOptions, plan: Plan) -> Space:
    """The default space with the user's ranges; raises UsageError for a bad range."""
    return narrowed(
        default_space(plan, suggested_learning_rate(plan)),
        lora_ranks=asked.lora_rank,
        learning_rate=asked.learning_rate,
        epochs=asked.epochs,
    )


def refuse_other_ranges(asked: SpaceOptions, kept: Space) -> None:
    """Raise TsplannerError if ranges were given that are not those of the resumed search."""
    if asked.lora_rank is not None:
        given = set(whole_numbers(asked.lora_rank, "--lora-rank"))
        # The search keeps only those of the given ranks that memory afforded.
        _refuse_unless(set(kept.lora_ranks) <= given, "--lora-rank", kept.lora_ranks)
    if asked.epochs is not None:
        same = kept.epochs == whole_numbers(asked.epochs, "--epochs")
        _refuse_unless(same, "--epochs", kept.epochs)
    if asked.learning_rate is not None:
        same = kept.learning_rate == rate_range(asked.learning_rate)
        _refuse_unless(same, "--learning-rate", kept.learning_rate)


def _refuse_unless(same: bool, flag: str, kept: tuple[float, ...]) -> None:
    if not same:
        raise TsplannerError(
            f"{flag} was {', '.join(f'{value:g}' for value in kept)} when this search began and "
            f"stays so: leave out {flag}, or search in a new run folder."
        )


def newest_search(saves: Path) -> Path:
    """The run folder whose study changed last; raises TsplannerError if there is none."""
    names = (JOURNAL_FILE, DATABASE_FILE) if saves.is_dir() else ()
    journals = [path for name in names for path in saves.rglob(name)]
    if not journals:
        raise TsplannerError(f"No search under {saves} to resume: leave out --resume.")
    return max(journals, key=lambda path: path.stat().st_mtime_ns).parent
