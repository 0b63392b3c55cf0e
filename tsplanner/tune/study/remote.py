"""Workers that see no common folder: what they need of each other travels in the database.

That is the plan, and of each trial the held-out rows that it is compared by, up to MOST_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.tune.search.paired_eval import EVAL_MARKS_FILE, EVAL_ROWS_FILE
from tsplanner.tune.study.storage import database_study, note_database

PLAN = "plan"
"""Attribute of a study in a database: its plan.json."""
ROWS = "rows"
"""Attribute of a trial in a database: its files of held-out rows; null if they are too large."""
MOST_BYTES = 100_000
JOINED_FOLDER = "joined"
"""Under saves: the folders of searches that others lead elsewhere."""


def packed_rows(trial: Path) -> dict[str, Any]:
    """The attribute with the files of held-out rows of a trial's folder."""
    files = (trial / name for name in (EVAL_ROWS_FILE, EVAL_MARKS_FILE))
    found = {file.name: file.read_text(encoding="utf-8") for file in files if file.is_file()}
    small = sum(map(len, found.values())) <= MOST_BYTES
    return {ROWS: found if small else None}


def unpack_rows(trials: Iterable[Any], folder: Path) -> None:
    """Write the files of trials that ended where another folder is; ``folder`` has all trials."""
    for trial in trials:
        place = folder / str(trial.number)
        for name in (EVAL_ROWS_FILE, EVAL_MARKS_FILE):
            text = (trial.user_attrs.get(ROWS) or {}).get(name)
            if text is not None and not (place / name).is_file():
                place.mkdir(parents=True, exist_ok=True)
                runs.write_text(place / name, text)


def folder_of(name: str, url: str, saves: Path, plan_file: str) -> Path:
    """A run folder of this machine for the study of that name; made if it is new here.

    Raises TsplannerError if the database has no such study, or its rows are too large to travel.
    """
    study = database_study(url, name)
    plan = study.user_attrs.get(PLAN)
    if plan is None:
        raise TsplannerError(f"{name} is no search of tsplanner that can be joined.")
    folder = saves / JOINED_FOLDER / runs.slug(name)
    for trial in study.get_trials(deepcopy=False):
        here = (folder / "trials" / str(trial.number) / EVAL_ROWS_FILE).is_file()
        if trial.user_attrs.get(ROWS, {}) is None and not here:
            raise TsplannerError(
                f"The held-out rows of {name} are over {MOST_BYTES // 1000} kB a trial: join it "
                "from a machine that sees its run folder, by naming that."
            )
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_text(folder / plan_file, plan)
    note_database(folder, url, name)
    return folder


def carry_plan(study: Any, plan: Any) -> None:
    """Put the plan where a worker elsewhere finds it."""
    from tsplanner.planner.files import plan_document

    study.set_user_attr(PLAN, plan_document(plan))
