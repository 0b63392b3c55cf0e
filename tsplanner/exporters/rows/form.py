"""In which form rows are exported: as token ids with labels, or as dialogues."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from tsplanner.errors import TsplannerError
from tsplanner.install import missing
from tsplanner.planner.plan import Plan

FOLDER = "rows"
TRAIN, TEST = f"{FOLDER}/train.jsonl", f"{FOLDER}/test.jsonl"
"""Files of the rows that are trained on and of the held-out rows."""


class RowsAs(StrEnum):
    """The form of exported rows."""

    TOKENS = "tokens"
    """Token ids with labels, as our worker makes them: every trainer learns the same from them."""
    MESSAGES = "messages"
    """Dialogues that a person can read; each trainer renders and cuts them in its own way."""


def chosen(plan: Plan, wanted: RowsAs | None) -> RowsAs:
    """The form that was asked for, otherwise token ids wherever they can be made.

    Raises:
        TsplannerError: token ids were asked for, and they cannot be made here.
    """
    reason = without_tokens(plan)
    if wanted is None:
        return RowsAs.TOKENS if reason is None else RowsAs.MESSAGES
    if wanted is RowsAs.TOKENS and reason is not None:
        raise TsplannerError(f"--rows tokens cannot be written: {reason}; take --rows messages.")
    return wanted


def without_tokens(plan: Plan) -> str | None:
    """Why the rows cannot be written as token ids here, as a clause; None: they can."""
    if plan.architecture.encoder is not None:
        return "the ChatTS fork normalises the series of a row itself and takes no token ids"
    folder = tokenizer_folder(plan)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return (
            f"{plan.model.name} has no tokenizer.json (plan again with --tokenizer FOLDER to name "
            "one)"
        )
    if missing(("tokenizers",)):
        return "the package tokenizers is not installed"
    return None


def tokenizer_folder(plan: Plan) -> Path | None:
    """Folder of the plan's tokenizer; None: the plan knows none."""
    found = plan.model.tokenizer or plan.model.path
    return Path(found) if found else None
