"""``tsplanner data``: the rows of a dataset as a model will see them, and rows made of a table."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from memory_models.units import counted
from tsplanner.commands.inputs.data_flags import (
    DataOptions,
    add_series_arguments,
    add_view,
    refuse_series_flags,
)
from tsplanner.commands.inputs.row_reader import ReaderAsked, RowReader, row_reader
from tsplanner.commands.inputs.values import path
from tsplanner.commands.parts.row_document import print_rows_document
from tsplanner.commands.views.dataset import dataset_lines
from tsplanner.commands.views.rows import legend, print_row
from tsplanner.commands.views.scan_bar import scan_bar
from tsplanner.commands.views.screen import Screen
from tsplanner.datasets.lengths.cache import length_summary
from tsplanner.datasets.records import (
    Conversation,
    DataSource,
    DroppedRow,
    Fault,
    LengthSummary,
    LossOn,
    OnBad,
)
from tsplanner.datasets.rows.columns import parsed_columns
from tsplanner.datasets.rows.fields import RowError
from tsplanner.datasets.rows.readers import read_rows
from tsplanner.datasets.shown import RowViewer, ShownRow
from tsplanner.datasets.written import FORMS, RowForm, row_file
from tsplanner.errors import EXIT_OK, UsageError
from tsplanner.planner.plan import DatasetRef

EPILOG = """examples:
  tsplanner data chats.jsonl --model models/Qwen3-8B --show 3
  tsplanner data chats.jsonl --line 377                        one row, or why it leaves
  tsplanner data chats.jsonl --model models/Qwen3-8B --json    ids and labels, a row a line
  tsplanner data chats.csv --convert chats.jsonl               any form as messages
  tsplanner data pump.csv --to chatts --time t --values flow --window 64 \\
    --question 'Peak?' --answer 'At point {flow_max_at}.' --convert rows.jsonl
"""


FIRST_ROWS = 1000
"""Rows that are looked at for series where no model says whether it reads them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.epilog = EPILOG
    parser.add_argument("files", nargs="+", type=path, metavar="FILE", help="rows, or a table")
    add_view(parser)
    group = parser.add_argument_group("writing")
    group.add_argument(
        "--convert",
        type=path,
        metavar="FILE",
        help="write the rows there: .jsonl, .jsonl.gz or .parquet [none]",
    )
    group.add_argument(
        "--to",
        type=RowForm,
        choices=list(RowForm),
        metavar="messages|chatts",
        help="form that is written [messages]; chatts with --values: rows of a table of series",
    )
    add_series_arguments(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON document on stdout, in it a line for each row with input_ids and labels",
    )


def from_arguments(namespace: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    columns = () if namespace.columns is None else parsed_columns(namespace.columns)
    options = DataOptions(
        source=DataSource(paths=tuple(map(str, namespace.files)), columns=columns),
        reader=ReaderAsked(
            model=namespace.model,
            tokenizer=namespace.tokenizer,
            cutoff_len=namespace.cutoff_len,
            loss_on=LossOn(namespace.loss_on),
        ),
        on_bad_rows=OnBad(namespace.on_bad_rows),
        show=namespace.show,
        line=namespace.line,
        whole=namespace.whole,
        list_file=namespace.list_file,
        convert=namespace.convert,
        form=namespace.to or (RowForm.MESSAGES if namespace.values is None else RowForm.CHATTS),
        as_json=namespace.json,
    )
    if namespace.values is not None:
        from tsplanner.commands.parts.series_rows import make_rows, recipe_of

        return make_rows(options, recipe_of(namespace))
    refuse_series_flags(namespace)
    return run(options)


def run(options: DataOptions) -> int:
    """Show a dataset, and write it in our form if that is asked for; 0.

    Raises:
        UsageError: a flag contradicts another one.
        TsplannerError: the dataset or the model cannot be read.
    """
    if options.line is not None and len(options.source.paths) > 1:
        raise UsageError("--line is a line of one file: name that file alone.")
    holds_series = options.reader.model is None and any_series(options.source)
    reader = row_reader(options.reader, holds_series=holds_series)
    viewer = reader.viewer(options.reader)
    with scan_bar(shown=not options.as_json) as progress:
        lengths = length_summary(
            reader.job(options.source, options.reader),
            on_bad=options.on_bad_rows,
            dropped_file=options.list_file,
            progress=progress,
        )
    converted = None if options.convert is None else convert(options, reader)
    if options.as_json:
        print_document(options, reader, viewer, lengths)
        return EXIT_OK
    print_head(options, reader, viewer, lengths)
    screen = Screen()
    rows = islice(shown_rows(options, reader, viewer), options.show or 1)
    print_shown(screen, rows, whole=options.whole)
    if converted is not None:
        screen.line(f"wrote {counted(converted, 'row')} to {options.convert}", "bold")
    return EXIT_OK


def any_series(source: DataSource) -> bool:
    """Whether one of the first rows holds series."""
    rows = islice(read_rows(source, on_bad=OnBad.DROP), FIRST_ROWS)
    return any(isinstance(row, Conversation) and row.timeseries for row in rows)


def print_head(
    options: DataOptions,
    reader: RowReader,
    viewer: RowViewer,
    lengths: LengthSummary,
) -> None:
    """The dataset in a few lines: rows, lengths, what leaves and why, what was guessed."""
    screen = Screen()
    turns = lengths.content.turns
    parts = [
        options.name,
        f"{lengths.rows_kept:,} of {counted(lengths.rows_total, 'row')} kept",
        *([] if turns is None else [f"{turns:.1f} turns on average"]),
        reader.words,
    ]
    screen.line(" · ".join(parts), "bold")
    listed = options.list_file if options.list_file and options.list_file.is_file() else None
    dataset = DatasetRef(
        name=options.name,
        path=options.source.paths[0],
        lengths=lengths,
        dropped_file=None if listed is None else str(listed),
    )
    for words, style in dataset_lines(dataset):
        screen.line(words, style)
    if lengths.counted_by == "estimate":
        screen.line("no tokenizer: lengths estimated from characters", "dim")
    for note in viewer.renderer.notes:
        screen.line(note, "dim")


def print_shown(
    screen: Screen, rows: Iterable[tuple[int, ShownRow | DroppedRow]], *, whole: bool
) -> None:
    """The rows with their numbers, and what their marks mean."""
    shown = False
    for number, row in rows:
        screen.line()
        if isinstance(row, DroppedRow):
            screen.line(f"line {row.line:,} is left out: {row.reason}", "yellow")
        else:
            print_row(screen, row, number, whole=whole)
            shown = True
    if shown:
        screen.line(legend(screen), "dim")


def shown_rows(
    options: DataOptions, reader: RowReader, viewer: RowViewer
) -> Iterator[tuple[int, ShownRow | DroppedRow]]:
    """Pairs of a row's number and the row; a document also has the rows that leave.

    Raises UsageError: no row begins at the line that is asked for.
    """
    nearest, rows = None, reader.rows(options.source, OnBad.DROP)
    for number, row in enumerate(rows, start=1):
        if options.line is None:
            found = seen(row, viewer)
            if options.as_json or not isinstance(found, DroppedRow):
                yield number, found
        elif row.line == options.line:
            yield number, seen(row, viewer)
            return
        elif row.line < options.line:
            nearest = row.line
    if options.line is not None:
        near = "" if nearest is None else f"; the row before it begins at line {nearest:,}"
        raise UsageError(f"No row begins at line {options.line:,}{near}.")


def seen(row: Conversation | DroppedRow, viewer: RowViewer) -> ShownRow | DroppedRow:
    """A row as the model sees it, unless it leaves."""
    if isinstance(row, DroppedRow):
        return row
    try:
        found = viewer.row(row)
    except RowError as error:
        return DroppedRow(line=row.line, fault=error.fault, reason=str(error), file=row.file)
    if found.ids is not None and not found.learned_tokens:
        reason = "no token carries loss" if not found.tokens_cut else "no token with loss is left"
        return DroppedRow(line=row.line, fault=Fault.NOTHING_LEARNED, reason=reason, file=row.file)
    if row.timeseries and found.tokens_cut:
        reason = f"its text is {counted(found.tokens_cut, 'token')} over --cutoff-len"
        return DroppedRow(line=row.line, fault=Fault.OVER_CUTOFF, reason=reason, file=row.file)
    return found


def convert(options: DataOptions, reader: RowReader) -> int:
    """Write the rows in the form that is asked for, and return how many there are.

    Raises TsplannerError: a row does not fit into that form, or the disk is full.
    """
    target = options.convert
    assert target is not None
    refuse_own_files(options.source, target)
    written = FORMS[options.form]
    rows = 0
    with row_file(target) as sink:
        for row in reader.rows(options.source, options.on_bad_rows):
            if isinstance(row, Conversation):
                sink.write(written(row))
                rows += 1
    return rows


def refuse_own_files(source: DataSource, target: Path) -> None:
    """Raise UsageError if rows are to be written over the rows that are read."""
    if target.is_dir():
        raise UsageError(f"--convert {target} is a folder: name a file in it.")
    if any(target.resolve() == Path(path).resolve() for path in source.paths):
        raise UsageError(f"--convert {target} would overwrite the rows: name another file.")


def print_document(
    options: DataOptions, reader: RowReader, viewer: RowViewer, lengths: LengthSummary
) -> None:
    """One JSON document, whose rows stand on a line each and are never held together."""
    head = {
        "files": list(options.source.paths),
        "model": reader.name,
        "cutoff_len": options.reader.cutoff_len,
        "loss_on": str(options.reader.loss_on),
        "notes": list(viewer.renderer.notes),
        "lengths": asdict(lengths),
        "converted_to": None if options.convert is None else str(options.convert),
    }
    print_rows_document(head, islice(shown_rows(options, reader, viewer), options.show))
