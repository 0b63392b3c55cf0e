"""Format, columns and speakers of a dataset's first rows, for trainers that must be told them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from memory_models.frozen import frozen
from tsplanner.datasets.files.folders import data_source
from tsplanner.datasets.records import DataSource
from tsplanner.datasets.rows.fields import NULL, Fields, RowError
from tsplanner.datasets.rows.forms import Form, form_of
from tsplanner.datasets.rows.readers import raw_dataset

LOOKED_AT = 1000
"""Rows that are read; a column that only later rows have is not found."""


@frozen
class RowsSeen:
    """The format of a dataset, and the columns and speakers that its rows use."""

    format: str
    """``chatts``, ``alpaca``, ``sharegpt``, ``messages``, ``pair`` or ``text``."""
    columns: tuple[str, ...]
    """Names of the rows' fields, sorted."""
    speakers: tuple[str, ...] = ()
    """Names of the speakers in dialogues, sorted."""


def rows_seen(source: Path | DataSource) -> RowsSeen:
    """Format, columns and speakers of the first rows.

    Raises TsplannerError: a file cannot be read.
    """
    columns: set[str] = set()
    speakers: set[str] = set()
    formats = []
    for raw in islice(raw_dataset(data_source(source)).rows(), LOOKED_AT):
        try:
            row = msgspec.json.decode(raw.data, type=dict[str, msgspec.Raw])
            fields = Fields({name: value for name, value in row.items() if value != NULL})
            columns |= fields.keys()
            form = form_of(tuple(fields), row.keys() - fields.keys(), fields)
            turns = fields.opened(form.turns) if form.turns is not None else None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, RowError):
            continue  # the readers say what is wrong with the row
        formats.append(_format(form))
        speakers |= _speakers(turns)
    return RowsSeen(
        format=formats[0] if formats else "text",
        columns=tuple(sorted(columns)),
        speakers=tuple(sorted(speakers)),
    )


def _format(form: Form) -> str:
    """The word for a form that exporters know."""
    if "timeseries" in form.beside or (form.question, form.answer) == ("input", "output"):
        return "chatts"
    if form.turns is not None:
        return "messages" if form.turns == "messages" else "sharegpt"
    if form.text is not None:
        return "text"
    return "alpaca" if (form.question, form.answer) == ("instruction", "output") else "pair"


def _speakers(turns: Any) -> set[str]:
    """Names of the speakers of a dialogue."""
    if not isinstance(turns, list):
        return set()
    return {str(each.get("from", each.get("role", ""))) for each in turns if isinstance(each, dict)}
