"""One pass over a dataset counts rows, lengths and faults; worker processes read large files."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.files.dataset import RawDataset
from tsplanner.datasets.files.folders import data_source
from tsplanner.datasets.files.records import Span
from tsplanner.datasets.lengths.stats import LengthStats, Longest
from tsplanner.datasets.lengths.tally import RowCounter, ScanJob, Tally
from tsplanner.datasets.lengths.workers import scan_workers, tallies_of_workers
from tsplanner.datasets.records import DataSource, Fault, Noticed, OnBad, Remark
from tsplanner.datasets.rows.drops import DropLog
from tsplanner.datasets.rows.readers import WAY_OUT, refuse_empty
from tsplanner.errors import TsplannerError

PARALLEL_BYTES = 32 << 20
"""Smallest file for which worker processes save more time than their start takes (0.05 s)."""

Progress = Callable[[int, int, int], None]
"""Called with the bytes done, the bytes of the file and the rows so far."""


@frozen
class ScanOptions:
    """How a dataset is scanned; none of it changes the lengths."""

    dropped_file: Path | None = None
    """File that gets every dropped row as ``file:line: reason``; None: no file is written."""
    progress: Progress | None = None
    """Called after every span."""
    workers: int | None = None
    """Number of processes; None: one for a small file, `scan_workers` for a large one."""


DEFAULT_OPTIONS = ScanOptions()


def length_stats(
    source: Path | DataSource,
    *,
    cutoff_len: int,
    encoder: TimeSeriesEncoder | None,
    tokenizer_folder: Path | None,
    on_bad: OnBad | str = OnBad.REFUSE,
    options: ScanOptions = DEFAULT_OPTIONS,
) -> LengthStats:
    """Lengths of a dataset as a model will see them, and the rows that the model will not see.

    Rows with series whose text is longer than ``cutoff_len`` are dropped, whatever ``on_bad``
    says: cutting them would cut a series' text. Rows without series are cut to ``cutoff_len``.

    Raises TsplannerError: see `read_rows`; also if the rows hold series but the model has no
    encoder, if tokenizer.json is damaged, and if no row is left. With ``on_bad`` "refuse" the
    whole file is scanned first, so that one message names the number of all bad rows.
    """
    job = ScanJob(
        source=data_source(source),
        cutoff_len=cutoff_len,
        encoder=encoder,
        tokenizer_folder=str(tokenizer_folder) if tokenizer_folder else None,
    )
    counter = RowCounter(job)
    raw, total = counter.raw, Tally()
    file, lines, done = 0, 0, 0
    with (
        DropLog(raw.place, options.dropped_file) as dropped,
        # An exception between two spans must leave no worker process behind: closing ends them.
        closing(_tallies(counter, options.workers)) as found,
    ):
        for span, tally in found:
            if span.file != file:
                file, lines = span.file, 0
            for row in tally.dropped:
                # A worker numbers lines from 1: how many lie before its span it cannot know.
                dropped.add(replace(row, line=row.line + lines))
            total.add(tally, lines)
            lines, done = lines + tally.lines, done + span.bytes
            if options.progress is not None:
                options.progress(done, raw.bytes, total.rows + dropped.rows)
    if not total.lengths:
        _refuse_none_left(raw, dropped, cutoff_len)
    if OnBad(on_bad) is OnBad.REFUSE:
        _refuse_bad(raw, dropped, options.dropped_file)
    return _stats(total, dropped, counter)


def _tallies(counter: RowCounter, workers: int | None) -> Generator[tuple[Span, Tally], None, None]:
    """Spans in the order of the files, each with its counts."""
    spans = list(counter.raw.spans())
    count = scan_workers() if workers is None else workers
    if workers is None and counter.raw.bytes < PARALLEL_BYTES:
        count = 1
    if count > 1:
        yield from zip(spans, tallies_of_workers(counter, spans, count), strict=True)
        return
    for span in spans:
        yield span, counter.span(span)


def _refuse_bad(raw: RawDataset, dropped: DropLog, file: Path | None) -> None:
    """Refuse a dataset with bad rows; the message has the first line and the number of bad rows."""
    first = dropped.first_bad
    if first is None:
        return
    count = dropped.bad_rows
    if count == 1:
        raise TsplannerError(f"{raw.place(first)}: {first.reason}; fix the row or {WAY_OUT}")
    kinds = ", ".join(
        f"{kind.rows} {kind.fault}" for kind in dropped.kinds() if kind.fault != Fault.OVER_CUTOFF
    )
    where = f"; all are listed in {file}" if file is not None else ""
    raise TsplannerError(
        f"{raw.place(first)}: {first.reason}, the first of {count} bad rows ({kinds}){where}; "
        f"fix them or {WAY_OUT}"
    )


def _refuse_none_left(raw: RawDataset, dropped: DropLog, cutoff_len: int) -> None:
    if dropped.first_bad is not None or not dropped.first:
        refuse_empty(raw, dropped.first_bad)
    raise TsplannerError(
        f"no row of {raw.name} is left: every text is longer than cutoff_len {cutoff_len}; "
        "raise --cutoff-len"
    )


def _stats(total: Tally, dropped: DropLog, counter: RowCounter) -> LengthStats:
    """The finished record."""
    notes = (
        Remark(kind=Noticed.FILES, text=note, rows=0, first_line=0) for note in counter.raw.notes
    )
    rows = total.rows
    mean_text = sum(length * found for length, found in total.texts.items()) / rows
    return LengthStats(
        rows_total=rows + dropped.rows,
        rows_kept=rows,
        dropped=tuple(dropped.first),
        dropped_kinds=dropped.kinds(),
        most=Longest(
            longest=max(total.lengths),
            longest_padded=max(total.padded),
            longest_text=max(total.texts),
            most_series_positions=total.series_most,
            most_patches=total.patches_most,
        ),
        mean=mean_text + total.series_total / rows,
        mean_text=mean_text,
        lengths=total.lengths,
        padded_lengths=total.padded,
        remarks=(*notes, *total.remarks.records()),
        counted_by=counter.counted_by,
    )
