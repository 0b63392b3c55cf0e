"""One pass over a dataset counts rows, lengths and faults; worker processes read large files."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.lengths.stats import LengthStats, Longest
from tsplanner.datasets.lengths.tally import RowCounter, ScanJob, Tally
from tsplanner.datasets.lengths.workers import scan_workers, tallies_of_workers
from tsplanner.datasets.records import DroppedRow, Fault, OnBad
from tsplanner.datasets.rows.drops import DropLog
from tsplanner.datasets.rows.formats import FORMATS
from tsplanner.datasets.rows.raw import array_rows, file_bytes, is_array
from tsplanner.datasets.rows.readers import WAY_OUT, dataset_format, refuse_empty
from tsplanner.errors import TsplannerError

SPAN_BYTES = 4 << 20
"""Bytes that are read between two reports of progress; a worker holds one row at a time."""

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
    path: Path,
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
    row_format = dataset_format(path)
    if encoder is None and row_format.holds_series:
        raise TsplannerError(
            f"{path} is a ChatTS dataset with time series, but the model has no time-series "
            "encoder; choose a ChatTS model or a text dataset"
        )
    job = ScanJob(
        path=str(path),
        format_number=FORMATS.index(row_format),
        cutoff_len=cutoff_len,
        encoder=encoder,
        tokenizer_folder=str(tokenizer_folder) if tokenizer_folder else None,
    )
    counter = RowCounter(job)
    total, size = Tally(), file_bytes(path)
    with (
        DropLog(path, options.dropped_file) as dropped,
        # An exception between two spans must leave no worker process behind: closing ends them.
        closing(_tallies(counter, size, options.workers)) as found,
    ):
        for end, tally in found:
            for row in tally.dropped:
                # A worker numbers lines from 1: how many lie before its span it cannot know.
                line = row.line + total.lines
                dropped.add(DroppedRow(line=line, fault=row.fault, reason=row.reason))
            total.add(tally)
            if options.progress is not None:
                options.progress(end, size, total.rows + dropped.rows)
    if OnBad(on_bad) is OnBad.REFUSE:
        _refuse_bad(path, dropped, options.dropped_file)
    if not total.lengths:
        _refuse_none_left(path, dropped, cutoff_len)
    return _stats(total, dropped, counter.counted_by)


def _tallies(
    counter: RowCounter, size: int, workers: int | None
) -> Generator[tuple[int, Tally], None, None]:
    """Pairs in file order: the byte where a span ends, and the counts of that span."""
    path = Path(counter.job.path)
    # Only a parser finds where the rows of an array end, so an array is never cut into spans.
    if is_array(path):
        yield size, counter.rows(array_rows(path))
        return
    ends = [*range(SPAN_BYTES, size, SPAN_BYTES), size]
    spans = list(zip([0, *ends], ends, strict=False))
    count = scan_workers() if workers is None else workers
    if workers is None and size < PARALLEL_BYTES:
        count = 1
    if count > 1:
        yield from zip(ends, tallies_of_workers(counter, spans, count), strict=True)
        return
    for start, end in spans:
        yield end, counter.span(start, end)


def _refuse_bad(path: Path, dropped: DropLog, file: Path | None) -> None:
    """Refuse a dataset with bad rows; the message has the first line and the number of bad rows."""
    first = dropped.first_bad
    if first is None:
        return
    count = dropped.bad_rows
    if count == 1:
        raise TsplannerError(f"{path}:{first.line}: {first.reason}; fix the row or {WAY_OUT}")
    kinds = ", ".join(
        f"{kind.rows} {kind.fault}" for kind in dropped.kinds() if kind.fault != Fault.OVER_CUTOFF
    )
    where = f"; all are listed in {file}" if file is not None else ""
    raise TsplannerError(
        f"{path}:{first.line}: {first.reason}, the first of {count} bad rows ({kinds}){where}; "
        f"fix them or {WAY_OUT}"
    )


def _refuse_none_left(path: Path, dropped: DropLog, cutoff_len: int) -> None:
    if dropped.first_bad is not None or not dropped.first:
        refuse_empty(path, dropped.first_bad)
    raise TsplannerError(
        f"no row of {path} is left: every text is longer than cutoff_len {cutoff_len}; "
        "raise --cutoff-len"
    )


def _stats(total: Tally, dropped: DropLog, counted_by: str) -> LengthStats:
    """The finished record."""
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
        counted_by=counted_by,
    )
