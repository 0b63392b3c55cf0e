"""Workers that share no folder: what they need of each other travels in the database.

That is the plan, and for each trial the held-out losses per example that it is compared by, up to
MAX_CARRIED_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.tune.search.paired_eval import EVAL_CHECKPOINTS_FILE, EXAMPLE_LOSSES_FILE
from tsplanner.tune.study.storage import database_study, note_database

PLAN = "plan"
"""Attribute of a study in a database: its plan.json."""
LOSSES = "rows"
"""Attribute of a trial in a database: its files of losses per example; null if too large."""
MAX_CARRIED_BYTES = 100_000
JOINED_FOLDER = "joined"
"""Under saves: the folders of searches that another machine leads."""


def carried_losses(trial: Path) -> dict[str, Any]:
    """The attribute with the losses per example of a trial; ``trial`` is the trial's folder."""
    files = (trial / name for name in (EXAMPLE_LOSSES_FILE, EVAL_CHECKPOINTS_FILE))
    found = {file.name: file.read_text(encoding="utf-8") for file in files if file.is_file()}
    small = sum(map(len, found.values())) <= MAX_CARRIED_BYTES
    return {LOSSES: found if small else None}


def write_carried_losses(trials: Iterable[Any], folder: Path) -> None:
    """Write the files of trials that ended on other machines; ``folder`` has all trials."""
    for trial in trials:
        own = folder / str(trial.number)
        for name in (EXAMPLE_LOSSES_FILE, EVAL_CHECKPOINTS_FILE):
            text = (trial.user_attrs.get(LOSSES) or {}).get(name)
            if text is not None and not (own / name).is_file():
                own.mkdir(parents=True, exist_ok=True)
                runs.write_text(own / name, text)


def folder_of(name: str, url: str, saves: Path, plan_file: str) -> Path:
    """The run folder of this machine for the study of that name; made if it is new here.

    Raises TsplannerError if the database has no such study, or its losses are too large to travel.
    """
    study = database_study(url, name)
    plan = study.user_attrs.get(PLAN)
    if plan is None:
        raise TsplannerError(f"{name} is no search of tsplanner that can be joined.")
    folder = saves / JOINED_FOLDER / runs.slug(name)
    for trial in study.get_trials(deepcopy=False):
        here = (folder / "trials" / str(trial.number) / EXAMPLE_LOSSES_FILE).is_file()
        # Null stands for losses that were too large; a trial without the attribute has not ended.
        if trial.user_attrs.get(LOSSES, {}) is None and not here:
            raise TsplannerError(
                f"The held-out losses of {name} are over {MAX_CARRIED_BYTES // 1000} kB per trial: "
                "join it from a machine that sees its run folder, by naming that."
            )
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_text(folder / plan_file, plan)
    note_database(folder, url, name)
    return folder


def carry_plan(study: Any, plan: Any) -> None:
    """Put the plan where a worker on another machine finds it."""
    from tsplanner.planner.files import plan_document

    study.set_user_attr(PLAN, plan_document(plan))
