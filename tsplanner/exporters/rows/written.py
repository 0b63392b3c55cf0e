"""Writes the rows of a plan: the rows that our worker keeps, split and cut as it does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import msgspec

from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, DataSource, LossOn, ReadJob
from tsplanner.datasets.split import held_out_places
from tsplanner.datasets.tokens.reading import KeptRow, RowReader
from tsplanner.datasets.tokens.rows import TokenRow
from tsplanner.errors import TsplannerError
from tsplanner.exporters.rows.form import FOLDER, TEST, TRAIN, RowsAs, tokenizer_folder
from tsplanner.exporters.rows.mistyped import Mistyped
from tsplanner.folders.leftovers import temporary_name
from tsplanner.planner.plan import Plan
from tsplanner.runs import clear_disk_errors

IGNORED_LABEL = -100
"""Label of a token that carries no loss, for all trainers."""
Shape = Callable[[Conversation, LossOn], dict[str, object]]
"""A conversation as the row of one trainer."""


@frozen
class RowsWritten:
    """Files of rows."""

    paths: tuple[Path, ...]
    rows: int
    """Rows of all files together."""
    held_out: int


def write_rows(plan: Plan, folder: Path, rows_as: RowsAs, shape: Shape) -> RowsWritten:
    """Write ``rows/train.jsonl`` and, if rows are held out, ``rows/test.jsonl`` into a folder.

    ``shape`` gives the row of a dialogue; token ids have one shape for all trainers. The rows pass
    through a temporary file, since the draw of the held-out rows needs their number.

    Raises:
        TsplannerError: the dataset cannot be read, a row is bad, or the folder cannot be written.
    """
    with clear_disk_errors(folder):
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder / FOLDER) as spool:
            count = _spooled(plan, rows_as, shape, spool)
            data = plan.learning.data
            places = held_out_places(count, data.validation_fraction, data.split_seed)
            paths = _split(spool, places, folder)
    return RowsWritten(paths=paths, rows=count, held_out=len(places))


def _spooled(plan: Plan, rows_as: RowsAs, shape: Shape, spool: IO[bytes]) -> int:
    """Write all rows, a line each; returns their number."""
    encoder, mistyped = msgspec.json.Encoder(), Mistyped()
    count = 0
    for row in _rows(plan, rows_as, shape):
        line = encoder.encode(row) + b"\n"
        if rows_as is RowsAs.MESSAGES:
            mistyped.see(row, len(line))
        spool.write(line)
        count += 1
    mistyped.refuse()
    if not count:
        raise TsplannerError(
            f"No row of {plan.dataset.path} is left at cutoff_len {plan.learning.data.cutoff_len}: "
            "plan again with a longer --cutoff-len."
        )
    return count


def _split(spool: IO[bytes], held_out: frozenset[int], folder: Path) -> tuple[Path, ...]:
    """Copy the lines into the two files, each written whole or not at all."""
    names = [TRAIN, TEST] if held_out else [TRAIN]
    parts = [temporary_name(folder / name) for name in names]
    spool.seek(0)
    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.unlink, missing_ok=True)
        streams = [stack.enter_context(part.open("wb")) for part in parts]
        for place, line in enumerate(spool):
            streams[place in held_out].write(line)
        for name, part, stream in zip(names, parts, streams, strict=True):
            stream.close()
            os.replace(part, folder / name)
    if not held_out:
        # An earlier export of this folder may have held some out.
        (folder / TEST).unlink(missing_ok=True)
    return tuple(folder / name for name in names)


def _rows(plan: Plan, rows_as: RowsAs, shape: Shape) -> Iterator[dict[str, object]]:
    if rows_as is RowsAs.TOKENS:
        return (_tokens(kept.tokens) for kept in kept_rows(plan))
    loss_on = plan.learning.data.loss_on
    return (shape(kept.row, loss_on) for kept in kept_rows(plan, ids=False))


def _tokens(row: TokenRow) -> dict[str, object]:
    labels = [IGNORED_LABEL] * len(row.ids)
    for start, end in row.learned:
        labels[start:end] = row.ids[start:end]
    return {"input_ids": list(row.ids), "attention_mask": [1] * len(row.ids), "labels": labels}


def kept_rows(plan: Plan, *, ids: bool = True) -> Iterator[KeptRow]:
    """The rows that our worker trains on, as it trains on them; without ``ids`` only counted."""
    folder = tokenizer_folder(plan)
    job = ReadJob(
        source=_source(plan),
        cutoff_len=plan.learning.data.cutoff_len,
        encoder=plan.architecture.encoder,
        tokenizer_folder=None if folder is None else str(folder),
        loss_on=plan.learning.data.loss_on,
    )
    reader = RowReader(job, ids=ids)
    # The plan has refused or counted the bad rows of the same files.
    return (row for row in reader.rows(reader.raw.rows()) if isinstance(row, KeptRow))


def _source(plan: Plan) -> DataSource:
    assert plan.dataset.source is not None  # every exporter asks `dataset_of` first
    return plan.dataset.source
