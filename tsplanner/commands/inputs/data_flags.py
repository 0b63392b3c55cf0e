"""The flags of ``tsplanner data``: whose view of the rows it is, and how a table becomes rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from memory_models.frozen import frozen
from memory_models.units import counted
from tsplanner.commands.inputs.row_reader import ReaderAsked
from tsplanner.commands.inputs.values import cutoff, names, path, positive
from tsplanner.datasets.records import (
    DataSource,
    LossOn,
    OnBad,
)
from tsplanner.datasets.written import RowForm
from tsplanner.errors import UsageError
from tsplanner.planner.settings import LearningSettings


@frozen
class DataOptions:
    """What a person asks of a dataset."""

    source: DataSource
    reader: ReaderAsked = ReaderAsked()
    on_bad_rows: OnBad = OnBad.DROP
    show: int | None = None
    """Rows that are shown; None: one, and with ``as_json`` all."""
    line: int | None = None
    """Line whose row is shown; None: the first rows."""
    whole: bool = False
    """Show long rows with their middle."""
    list_file: Path | None = None
    """Gets every row that leaves or is cut, a line each; None: only the first are named."""
    convert: Path | None = None
    """Where the rows are written; None: nowhere."""
    form: RowForm = RowForm.MESSAGES
    as_json: bool = False

    @property
    def name(self) -> str:
        """The files in a few words."""
        first, *more = self.source.paths
        return first + (f" and {counted(len(more), 'further file')}" if more else "")


def add_view(parser: argparse.ArgumentParser) -> None:
    """Whose view of the rows it is, and which rows are shown."""
    defaults = LearningSettings().data
    parser.add_argument(
        "--model", metavar="NAME", help="folder, config.json, preset or hub id [none: the turns]"
    )
    parser.add_argument(
        "--tokenizer",
        type=path,
        metavar="FOLDER",
        help="folder of another tokenizer [the model's own]",
    )
    parser.add_argument(
        "--columns",
        metavar="PAIRS",
        help="your names of the fields: prompt=instruction,answer=reply [found by name]",
    )
    parser.add_argument(
        "--cutoff-len",
        type=cutoff,
        default=defaults.cutoff_len,
        metavar="N",
        help="text tokens of a row [%(default)s]",
    )
    parser.add_argument(
        "--loss-on",
        choices=names(LossOn),
        default="assistant",
        help="turns that carry loss [%(default)s]",
    )
    parser.add_argument(
        "--on-bad-rows",
        choices=names(OnBad),
        default="drop",
        help="what to do about rows that cannot be read [%(default)s, and say so]",
    )
    parser.add_argument(
        "--show", type=positive, metavar="N", help="rows to show [1; all with --json]"
    )
    parser.add_argument(
        "--line", type=positive, metavar="N", help="show the row of this line [none]"
    )
    parser.add_argument(
        "--list",
        dest="list_file",
        type=path,
        metavar="FILE",
        help="write every row that leaves, is cut or stands twice there, and why [none]",
    )
    parser.add_argument(
        "--whole", action="store_true", help="show long rows without leaving out their middle"
    )


def add_series_arguments(parser: argparse.ArgumentParser) -> None:
    """How a table of series becomes rows."""
    group = parser.add_argument_group("rows of a table of series (--to chatts)")
    for flag, metavar, text in (
        ("--values", "COLUMNS", "columns of numbers, joined by commas [none]"),
        ("--time", "COLUMN", "column of numbers or dates, in order [even steps]"),
        ("--by", "COLUMN", "column that tells several series apart [one series]"),
        ("--labels", "COLUMN", "column whose labels answer [none]"),
        ("--question", "TEXT", "with fields such as {flow}, {points} [the labels' name]"),
        ("--answer", "TEXT", "with fields such as {flow_max}, {flow_max_at} [the labels]"),
    ):
        group.add_argument(flag, metavar=metavar, help=text)
    group.add_argument(
        "--decimal-comma", action="store_true", help="numbers of the table look like 1.234,5"
    )
    group.add_argument("--window", type=positive, metavar="N", help="points of a row [a series]")
    group.add_argument("--step", type=positive, metavar="N", help="points between rows [--window]")


SERIES_FLAGS = ("time", "by", "labels", "question", "answer", "window", "step", "decimal_comma")


def refuse_series_flags(namespace: argparse.Namespace) -> None:
    """Raise UsageError for a flag that says nothing without --values."""
    for name in SERIES_FLAGS:
        if getattr(namespace, name) not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} is for rows of a table: name its columns of numbers with --values."
            )
