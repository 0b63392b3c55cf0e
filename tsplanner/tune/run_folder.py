"""The plan and the run folder that a search starts from, new or resumed."""

from __future__ import annotations

from pathlib import Path

from memory_models.device import Machine
from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.folders.owner import refuse_foreign, refuse_led
from tsplanner.folders.run_order import newest_idle
from tsplanner.planner.files import find_plan, folder_of_plan, write_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.finished import RUN_FILES
from tsplanner.probe.measured_plan import with_probe
from tsplanner.probe.preflight import refuse_what_has_no_room
from tsplanner.probe.runner import JOB_FILE
from tsplanner.tune.options import SearchLocation, SpaceOptions, TuneOptions
from tsplanner.tune.runner.server import SERVER_LOG
from tsplanner.tune.search.space import (
    Space,
    default_space,
    kept_as_given,
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
SEARCH_FILES = (
    SEARCH_PLAN,
    SERVER_LOG,
    JOURNAL_FILE,
    LOCK_FILE,
    f"{JOURNAL_FILE}.lock",
    DATABASE_FILE,
    TRIALS_FOLDER,
)
"""What a search makes in its run folder before its first trial."""


@frozen
class SearchStart:
    """Where a search starts from."""

    plan: Plan
    file: Path
    """The file of the plan."""
    folder: Path | None
    """The run folder; None: a new one."""


def find_start(options: TuneOptions, here: Machine) -> SearchStart:
    """The plan to search around, and the run folder; a resumed search brings both.

    Makes nothing. Raises TsplannerError if the plan has no room on the machine, or the folder holds
    something else.
    """
    location = options.location
    folder = folder_asked(location)
    if folder is not None and holds_search(folder):
        return _resumed(options, folder, here)
    if folder is not None and has_trials(folder):
        raise TsplannerError(
            f"{folder} holds trials of a search whose {JOURNAL_FILE} is gone: put it back, or "
            "search in a new run folder."
        )
    if location.resume:
        raise TsplannerError(f"{folder} holds no search to resume: leave out --resume.")
    if folder is not None:
        _refuse_used(folder)
    plan, file = _plan_to_search(options)
    refuse_nothing_to_search(options.space, plan)
    if location.storage is not None:
        check_storage_url(location.storage)
    refuse_what_has_no_room(plan, here, force=options.force, random_weights=options.random_weights)
    return SearchStart(plan=with_probe(plan, file), file=file, folder=folder)


def folder_asked(location: SearchLocation) -> Path | None:
    """The folder that was named, or the newest search's where one is to be resumed."""
    if location.run_folder is None and location.resume:
        return newest_search(location.saves)
    return location.run_folder


def holds_search(folder: Path) -> bool:
    """Whether a folder holds a search that began; its plan is the last thing that it wrote then."""
    return holds_study(folder) and ((folder / SEARCH_PLAN).is_file() or has_trials(folder))


def has_trials(folder: Path) -> bool:
    """Whether a trial of a search has left anything in its run folder."""
    return any((folder / TRIALS_FOLDER).glob("*"))


def _refuse_used(folder: Path) -> None:
    """Raise TsplannerError for a folder in which a new search would write over something."""
    refuse_led(folder)
    if (folder / JOB_FILE).is_file():
        raise TsplannerError(f"{folder} holds a run already: name another --run-folder.")
    refuse_foreign(folder, (*SEARCH_FILES, *RUN_FILES))


def refuse_begun(folder: Path) -> None:
    """Raise TsplannerError for a folder with a search that began, which nobody asked to resume."""
    if holds_search(folder):
        raise TsplannerError(
            f"{folder} holds a search already: add --resume to go on with it, or leave out "
            "--run-folder to start another."
        )


def _resumed(options: TuneOptions, folder: Path, here: Machine) -> SearchStart:
    location = options.location
    if not location.resume:
        refuse_led(folder)
        refuse_begun(folder)
    plan, file = find_plan(location.plan_path or folder / SEARCH_PLAN, location.saves)
    # A search that is resumed was begun with the flag, or before there was one.
    refuse_what_has_no_room(plan, here, force=options.force, random_weights=True)
    return SearchStart(plan=plan, file=file, folder=folder)


def _plan_to_search(options: TuneOptions) -> tuple[Plan, Path]:
    """The plan named, else the newest one, else a new one for the model that ships here."""
    saves, given = options.location.saves, options.location.plan_path
    if given is not None or any(saves.glob(f"*/{runs.PLAN_FILE}")):
        return find_plan(given, saves)
    from tsplanner.planner.gather.requests import Subject, plan_request
    from tsplanner.planner.rank import choose

    plan = choose(plan_request(Subject(), saves)).plan
    return plan, write_plan(plan, folder_of_plan(saves, plan) / runs.PLAN_FILE)


def search_space(asked: SpaceOptions, plan: Plan) -> Space:
    """The default space without what was given to plan, and with the ranges given to tune.

    Raises UsageError for a bad range, or for epochs where the plan says how many steps a run has.
    """
    if asked.epochs is not None and plan.learning.cadence.max_steps is not None:
        raise UsageError(
            f"--epochs: the plan has --max-steps {plan.learning.cadence.max_steps}, which decides "
            "how long a run is: leave out --epochs, or plan again without --max-steps."
        )
    return narrowed(
        kept_as_given(default_space(plan, suggested_learning_rate(plan)), plan.learning),
        lora_ranks=asked.lora_rank,
        learning_rate=asked.learning_rate,
        epochs=asked.epochs,
    )


def refuse_nothing_to_search(asked: SpaceOptions, plan: Plan) -> None:
    """Raise UsageError for a new search that has one point, because plan was given all of it."""
    space = search_space(asked, plan)
    low, high = space.learning_rate
    single = len(space.lora_ranks) <= 1 and low == high and len(space.epochs) == 1
    if single and plan.learning.given and asked == SpaceOptions():
        raise UsageError(
            "Everything that is searched was given to plan and is kept: give tune a range to "
            "search, such as --learning-rate 1e-5..1e-3, or run  tsplanner train"
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
    """The run folder whose search was begun or resumed last; one that is led only where all are.

    Raises TsplannerError if there is none.
    """
    names = (JOURNAL_FILE, DATABASE_FILE) if saves.is_dir() else ()
    newest = newest_idle({path.parent for name in names for path in saves.rglob(name)})
    if newest is None:
        raise TsplannerError(f"No search under {saves} to resume: leave out --resume.")
    return newest
