"""Names of fields that a user gives: ``--columns prompt=instruction,answer=reply``."""

from __future__ import annotations

from collections.abc import Mapping

from tsplanner.datasets.records import Fault, Role
from tsplanner.datasets.rows.fields import Fields, RowError, listed
from tsplanner.datasets.rows.forms import Form
from tsplanner.datasets.rows.refused import MEDIA
from tsplanner.errors import UsageError, did_you_mean, named

PARTS: Mapping[str, str] = {
    "prompt": "question",
    "answer": "answer",
    "input": "context",
    "messages": "turns",
    "text": "text",
}
"""Names of the flag for the texts of a row, and the parts of a `Form` that they are."""
BESIDE = ("system", "tools", "history", "timeseries")
OF_TURNS = ("role", "content")
COLUMN_NAMES = (*PARTS, *BESIDE, *OF_TURNS, *(str(role) for role in Role if role not in BESIDE))
_BASES = (frozenset({"prompt", "answer"}), frozenset({"messages"}), frozenset({"text"}))


def parsed_columns(words: str) -> tuple[tuple[str, str], ...]:
    """Pairs of our name and the dataset's, from ``prompt=instruction,answer=reply``.

    Raises UsageError: a name of ours is unknown, stands twice, or the pairs make no row.
    """
    found: dict[str, str] = {}
    for word in words.split(","):
        ours, sign, theirs = word.partition("=")
        ours, theirs = ours.strip().lower(), theirs.strip()
        if not sign or not theirs:
            raise UsageError(
                f"--columns takes pairs such as prompt=instruction,answer=reply, not {named(word)}."
            )
        if ours not in COLUMN_NAMES:
            near = did_you_mean(ours, COLUMN_NAMES)
            raise UsageError(
                f"--columns knows no name {named(ours)}.{near} Names: {', '.join(COLUMN_NAMES)}."
            )
        if ours in found:
            raise UsageError(f"--columns has {ours} twice.")
        found[ours] = theirs
    texts = found.keys() & PARTS.keys() - {"input"}
    if texts and texts not in _BASES:
        raise UsageError(
            "--columns needs prompt and answer, or messages, or text; it has "
            f"{', '.join(sorted(texts))}."
        )
    return tuple(found.items())


def names_texts(columns: Mapping[str, str]) -> bool:
    """Whether the columns say where the texts of a row are, and not only how turns are read."""
    return bool(columns.keys() & PARTS.keys())


def form_by_columns(columns: Mapping[str, str], row: Fields) -> Form:
    """The form that the user's names say, for a row with these fields.

    Raises RowError: a field that the row needs is missing.
    """
    optional = ("input", *BESIDE)
    for ours, theirs in columns.items():
        if ours in PARTS and ours not in optional and theirs not in row:
            raise RowError(
                f"field {named(theirs)}, named by --columns, is missing: the row has "
                f"{listed(row) or 'none'}",
                Fault.MISSING_FIELD,
            )
    parts = {PARTS[ours]: name for ours, name in columns.items() if ours in PARTS and name in row}
    beside = {ours: name for ours, name in columns.items() if ours in BESIDE and name in row}
    used = {*parts.values(), *beside.values()}
    media = tuple(name for name in row if name.lower() in MEDIA and name not in used)
    return Form(
        name="the columns given",
        turns=parts.get("turns"),
        question=parts.get("question"),
        context=parts.get("context"),
        answer=parts.get("answer"),
        text=parts.get("text"),
        beside=beside,
        media=media,
        unread=tuple(name for name in row if name not in used and name not in media),
    )
