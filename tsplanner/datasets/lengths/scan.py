"""One pass over a dataset counts rows, lengths and faults; worker processes read large files."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.files.dataset import RawDataset
from tsplanner.datasets.files.folders import data_source
from tsplanner.datasets.files.records import Span
from tsplanner.datasets.lengths.duplicates import SeenRows
from tsplanner.datasets.lengths.stats import LengthStats, Longest
from tsplanner.datasets.lengths.tally import NotedRow, RowCounter, Tally
from tsplanner.datasets.lengths.workers import answers_of_workers, worker_count
from tsplanner.datasets.records import (
    DataSource,
    Fault,
    Noticed,
    OnBad,
    ReadJob,
    Remark,
    RowContent,
)
from tsplanner.datasets.rows.drops import NO_FAULT_OF_THE_FILE, DropLog
from tsplanner.datasets.rows.readers import WAY_OUT, refuse_empty
from tsplanner.datasets.tokens.reading import RowReader
from tsplanner.errors import TsplannerError

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
    """`row_stats` of a dataset that is named by its path."""
    job = ReadJob(
        source=data_source(source),
        cutoff_len=cutoff_len,
        encoder=encoder,
        tokenizer_folder=str(tokenizer_folder) if tokenizer_folder else None,
    )
    return row_stats(job, on_bad=on_bad, options=options)


def row_stats(
    job: ReadJob,
    *,
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
    reader = RowReader(job, ids=False)
    raw, counter = reader.raw, RowCounter(reader)
    with (
        DropLog(raw.place, options.dropped_file) as dropped,
        # An exception between two spans must leave no worker process behind: closing ends them.
        closing(_tallies(counter, options.workers)) as found,
    ):
        total = _total(found, raw, dropped, options.progress)
    if not total.lengths:
        _refuse_none_left(raw, dropped, job.cutoff_len)
    if OnBad(on_bad) is OnBad.REFUSE:
        _refuse_bad(raw, dropped, options.dropped_file)
    return _stats(total, dropped, reader)


def _total(
    tallies: Iterator[tuple[Span, Tally]],
    raw: RawDataset,
    log: DropLog,
    progress: Progress | None,
) -> Tally:
    """The counts of all spans; rows that leave or are noted go to the log."""
    total, seen = Tally(), SeenRows()
    file = lines = done = 0
    for span, tally in tallies:
        if span.file != file:
            file, lines = span.file, 0
        _add_duplicates(tally, span.file, seen)
        # A worker numbers lines from 1: how many lie before its span it cannot know.
        for row in tally.dropped:
            log.add(replace(row, line=row.line + lines))
        for noted in tally.noted:
            tally.remarks.note(noted.kind, "", noted.line, noted.file)
            log.note(replace(noted, line=noted.line + lines))
        total.add(tally, lines)
        lines, done = lines + tally.lines, done + span.bytes
        if progress is not None:
            progress(done, raw.bytes, total.rows + log.rows)
    return total


def _add_duplicates(tally: Tally, file: int, seen: SeenRows) -> None:
    """Note the rows of a span that are the same as earlier ones."""
    pairs = array("q", tally.digests)
    for line, digest in zip(pairs[::2], pairs[1::2], strict=True):
        if seen.add(digest):
            kind = Noticed.DUPLICATE
            tally.noted.append(NotedRow(line=line, kind=kind, reason=str(kind), file=file))
    tally.noted.sort(key=lambda noted: noted.line)


def _tallies(counter: RowCounter, workers: int | None) -> Generator[tuple[Span, Tally], None, None]:
    """Spans in the order of the files, each with its counts."""
    raw = counter.reader.raw
    spans = list(raw.spans())
    count = worker_count(raw, workers)
    if count == 1:
        for span in spans:
            yield span, counter.span(span)
        return
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Tally).decode
    answers = answers_of_workers(lambda s: encode(counter.span(s)), spans, count, raw.name)
    with closing(answers):
        for span, answer in zip(spans, answers, strict=True):
            yield span, decode(answer)


def _refuse_bad(raw: RawDataset, dropped: DropLog, file: Path | None) -> None:
    """Refuse a dataset with bad rows; the message has the first line and the number of bad rows."""
    first = dropped.first_bad
    if first is None:
        return
    count = dropped.bad_rows
    if count == 1:
        raise TsplannerError(f"{raw.place(first)}: {first.reason}; fix the row or {WAY_OUT}")
    kinds = ", ".join(
        f"{kind.rows} {kind.fault}"
        for kind in dropped.kinds()
        if kind.fault not in NO_FAULT_OF_THE_FILE
    )
    where = f"; all are listed in {file}" if file is not None else ""
    raise TsplannerError(
        f"{raw.place(first)}: {first.reason}, the first of {count} bad rows ({kinds}){where}; "
        f"fix them or {WAY_OUT}"
    )


def _refuse_none_left(raw: RawDataset, dropped: DropLog, cutoff_len: int) -> None:
    if dropped.first_bad is not None or not dropped.first:
        refuse_empty(raw, dropped.first_bad)
    first = dropped.first[0]
    if first.fault is Fault.OVER_CUTOFF:
        raise TsplannerError(
            f"no row of {raw.name} is left: every text is longer than cutoff_len {cutoff_len}; "
            "raise --cutoff-len"
        )
    raise TsplannerError(
        f"no row of {raw.name} is left at cutoff_len {cutoff_len}: line {first.line}: "
        f"{first.reason}"
    )


def _with_length(remark: Remark, total: Tally) -> Remark:
    """What was noticed; of rows that were cut also the tokens that would hold all of them."""
    cut = remark.kind == Noticed.CUT
    return replace(remark, text=str(total.sums.whole_most)) if cut else remark


def _stats(total: Tally, dropped: DropLog, reader: RowReader) -> LengthStats:
    """The finished record."""
    notes = tuple(
        Remark(kind=kind, text=note, rows=0, first_line=0)
        for kind, found in ((Noticed.FILES, reader.raw.notes), (Noticed.GUESS, reader.notes))
        for note in found
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
        content=RowContent(
            learned=total.sums.learned / rows,
            turns=total.sums.turns / rows,
            remarks=(*notes, *(_with_length(each, total) for each in total.remarks.records())),
        ),
        counted_by=reader.counted_by,
    )
