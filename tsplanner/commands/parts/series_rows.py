"""``tsplanner data TABLE --values …``: rows of ChatTS from a table of series."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from memory_models.units import counted
from tsplanner.commands.data import (
    print_shown,
    refuse_own_files,
    seen,
)
from tsplanner.commands.inputs.data_flags import DataOptions
from tsplanner.commands.inputs.row_reader import RowReader, row_reader
from tsplanner.commands.parts.row_document import print_rows_document
from tsplanner.commands.views.dataset import dropped_line
from tsplanner.commands.views.screen import Screen
from tsplanner.console import command
from tsplanner.datasets.records import DataSource, OnBad
from tsplanner.datasets.rows.drops import DropLog
from tsplanner.datasets.rows.readers import raw_dataset
from tsplanner.datasets.series.table import Columns
from tsplanner.datasets.series.windows import Recipe, RowMaker
from tsplanner.datasets.written import FORMS, row_file
from tsplanner.errors import EXIT_OK, TsplannerError, UsageError

MOST_NAMED = 5
"""Flaws that are named with their line; the others are counted."""


def recipe_of(namespace: argparse.Namespace) -> Recipe:
    """How the table becomes rows, as the flags say.

    Raises UsageError: no column is named.
    """
    values = tuple(name.strip() for name in namespace.values.split(",") if name.strip())
    if not values:
        raise UsageError("--values names no column: give those of numbers, joined by commas.")
    return Recipe(
        columns=Columns(
            values=values,
            time=namespace.time,
            labels=namespace.labels,
            by=namespace.by,
            decimal_comma=namespace.decimal_comma,
        ),
        window=namespace.window,
        step=namespace.step,
        question=namespace.question,
        answer=namespace.answer,
    )


def make_rows(options: DataOptions, recipe: Recipe) -> int:
    """Make rows of a table, write them if that is asked for, and show them; 0.

    Raises:
        UsageError: a flag, a column or a field is wrong.
        TsplannerError: the table cannot be read or gives no row; with ``on_bad_rows`` "refuse" also
            if a cell cannot be used.
    """
    if recipe.step is not None and recipe.window is None:
        raise UsageError("--step is for windows: give --window as well.")
    reader = row_reader(options.reader, holds_series=True)
    if reader.encoder is None:
        raise UsageError(f"{reader.name} reads no series: name a ChatTS model.")
    maker = RowMaker(recipe, reader.encoder)
    write_rows(options, maker)
    viewer = reader.viewer(options.reader)
    # The rows are made once more to be shown, so that a long table is never held.
    again = RowMaker(recipe, reader.encoder).rows(table_rows(options.source))
    rows = ((number, seen(row, viewer)) for number, row in enumerate(again, start=1))
    if options.as_json:
        print_rows_document(document_head(options, reader, maker), islice(rows, options.show))
        return EXIT_OK
    screen = Screen()
    for words, style in made_lines(options, recipe, maker):
        screen.line(words, style)
    print_shown(screen, islice(rows, options.show or 1), whole=options.whole)
    if options.convert is not None:
        screen.line()
        screen.line(f"wrote {counted(maker.made.rows, 'row')} to {options.convert}", "bold")
        model = () if options.reader.model is None else ("--model", options.reader.model)
        screen.line("Next   " + command("plan", *model, "--dataset", options.convert), "bold")
    return EXIT_OK


def table_rows(source: DataSource) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Lines and cells of the table.

    Raises TsplannerError: a file cannot be read, or a line is no row of a table.
    """
    table = raw_dataset(source)
    for row in table.rows():
        if row.fault is not None:
            where = f"{table.files[row.file].path}:{row.line}"
            raise TsplannerError(f"{where}: {row.reason}; fix the line")
        yield row.line, json.loads(row.data)


def write_rows(options: DataOptions, maker: RowMaker) -> None:
    """Make all rows, and write them where that is asked for.

    Raises TsplannerError: see `make_rows`; nothing is written then.
    """
    rows, made = maker.rows(table_rows(options.source)), FORMS[options.form]
    if options.convert is None:
        for _ in rows:
            pass
        refuse_flaws(options, maker)
        return
    refuse_own_files(options.source, options.convert)
    with row_file(options.convert) as sink:
        for row in rows:
            sink.write(made(row))
        refuse_flaws(options, maker)


def refuse_flaws(options: DataOptions, maker: RowMaker) -> None:
    """Raise TsplannerError if a cell cannot be used and none may be, or if there is no row."""
    flaws, left_out = maker.reader.flaws, maker.made.left_out
    if flaws and options.on_bad_rows is OnBad.REFUSE:
        raise TsplannerError(
            f"{options.name}:{flaws[0].line}: {flaws[0].reason}"
            + (f", the first of {len(flaws)} cells that cannot be used" if len(flaws) > 1 else "")
            + "; mend the table, or leave out the rows that hold them with --on-bad-rows drop"
        )
    if maker.made.rows:
        return
    if not maker.made.points:
        raise TsplannerError(f"{options.name} has no line below its heading.")
    if left_out:
        why = flaws[0].reason if flaws else left_out[0].reason
        raise TsplannerError(f"{options.name} gives no row: {why}.")
    raise TsplannerError(
        f"{options.name} gives no row: it has {counted(maker.made.points, 'point')}, and a window "
        f"has {maker.recipe.window or 1}; give a smaller --window."
    )


def made_lines(options: DataOptions, recipe: Recipe, maker: RowMaker) -> Iterator[tuple[str, str]]:
    """What became of the table, a line each with its style."""
    made, flaws = maker.made, maker.reader.flaws
    size = "a whole series each" if recipe.window is None else f"{recipe.window:,} points each"
    yield (
        f"{options.name} · {counted(made.points, 'point')} · {counted(made.rows, 'row')}, {size}",
        "bold",
    )
    if made.points_in_no_row:
        are = "is" if made.points_in_no_row == 1 else "are"
        yield f"{counted(made.points_in_no_row, 'point')} {are} in no row: no window ends there", ""
    if flaws:
        yield f"{counted(len(flaws), 'cell')} cannot be used:", "yellow"
    for flaw in flaws[:MOST_NAMED]:
        yield f"  line {flaw.line:,}: {flaw.reason}", "yellow"
    left_out = DropLog(lambda row: f"{options.name}:{row.line}", None)
    for row in made.left_out:
        left_out.add(row)
    for kind in left_out.kinds():
        yield dropped_line(kind), "yellow"
    if made.uneven_steps:
        lines = ", ".join(f"{line:,}" for line in made.uneven_lines)
        one = made.uneven_steps == 1
        yield (
            f"{counted(made.uneven_steps, 'step')} of {recipe.columns.time} "
            f"{'differs' if one else 'differ'} from the usual one "
            f"({'line' if one else 'lines'} {lines}): a model counts points and sees no times",
            "yellow",
        )


def document_head(options: DataOptions, reader: RowReader, maker: RowMaker) -> dict[str, Any]:
    """What became of the table as plain values."""
    made = maker.made
    return {
        "files": list(options.source.paths),
        "model": reader.name,
        "points": made.points,
        "points_in_no_row": made.points_in_no_row,
        "rows_made": made.rows,
        "left_out": [asdict(row) for row in made.left_out],
        "uneven_steps": made.uneven_steps,
        "flaws": [asdict(flaw) for flaw in maker.reader.flaws],
        "converted_to": None if options.convert is None else str(options.convert),
    }
