"""A cache of dataset lengths: the next plan does not read an unchanged file again."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memory_models.architecture import TimeSeriesEncoder
from tsplanner import __version__
from tsplanner.datasets.files.folders import data_source, dataset_files
from tsplanner.datasets.records import (
    DataSource,
    DroppedKind,
    LengthBin,
    LengthSummary,
    Remark,
)
from tsplanner.errors import TsplannerError
from tsplanner.reading import decoded, read_text
from tsplanner.runs import write_text
from tsplanner.settings import state_parts

SUMMARY_VERSION = 5
"""Version of the fields of LengthSummary; a summary of an older version is counted anew."""

Stamp = tuple[str, int, int]


def length_summary(
    source: Path | DataSource,
    *,
    cutoff_len: int,
    encoder: TimeSeriesEncoder | None,
    tokenizer_folder: Path | None,
    on_bad: str,
    dropped_file: Path | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> LengthSummary:
    """Summary of `length_stats`, from the state folder if the file and the settings are unchanged.

    Raises TsplannerError: as `length_stats` does; a refusal is never cached.
    """
    import hashlib  # only a plan with a dataset needs it

    source = data_source(source)
    tokenizer = tokenizer_folder / "tokenizer.json" if tokenizer_folder else None
    made_by = (__version__, SUMMARY_VERSION)
    files = [_stamp(path) for path in dataset_files([Path(each) for each in source.paths]).paths]
    read = (files, source.columns, on_bad)
    facts = (made_by, read, _stamp(tokenizer), cutoff_len, str(encoder))
    key = hashlib.sha256(repr((facts, str(dropped_file))).encode()).hexdigest()[:32]
    file = state_parts()["row lengths"] / f"{key}.json"
    # A damaged note is no error: the rows are counted anew, and a new note takes its place.
    with suppress(OSError, ValueError, TypeError, KeyError):
        noted = decoded(read_text(file))
        known = _summary(noted["summary"])
        # A person may have edited or deleted the list of dropped rows, which the plan names.
        stamp = _stamp(dropped_file)
        if not known.dropped or noted["dropped_file"] == (None if stamp is None else list(stamp)):
            return known
    # The readers are imported only here: a plan whose lengths are known does not wait for them.
    from tsplanner.datasets.lengths.scan import ScanOptions, length_stats
    from tsplanner.datasets.lengths.stats import (
        length_histogram,
        length_quantiles,
        longest_batch_length,
    )

    stats = length_stats(
        source,
        cutoff_len=cutoff_len,
        encoder=encoder,
        tokenizer_folder=tokenizer_folder,
        on_bad=on_bad,
        options=ScanOptions(dropped_file=dropped_file, progress=progress),
    )
    summary = LengthSummary(
        rows_total=stats.rows_total,
        rows_kept=stats.rows_kept,
        dropped=stats.dropped_kinds,
        longest=longest_batch_length(stats, 1),
        longest_batch=longest_batch_length(stats, 2),
        most_patches=stats.most.most_patches,
        mean=stats.mean,
        mean_text=stats.mean_text,
        quantiles=length_quantiles(stats),
        histogram=length_histogram(stats.lengths),
        counted_by=stats.counted_by,
        remarks=stats.remarks,
    )
    note = {"summary": asdict(summary), "dropped_file": _stamp(dropped_file)}
    with suppress(OSError, TsplannerError):  # a state folder that cannot be written costs only time
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(note) + "\n")
    return summary


def _summary(found: dict[str, Any]) -> LengthSummary:
    """The summary from JSON, which has neither tuples nor records."""
    kinds = [
        DroppedKind(**{**kind, "first_lines": tuple(kind["first_lines"])})
        for kind in found["dropped"]
    ]
    records = {
        "dropped": tuple(kinds),
        "quantiles": tuple(found["quantiles"]),
        "histogram": tuple(LengthBin(**bar) for bar in found["histogram"]),
        "remarks": tuple(Remark(**remark) for remark in found["remarks"]),
    }
    return LengthSummary(**{**found, **records})


def _stamp(path: Path | None) -> Stamp | None:
    """Path, size and time of a file, which change when the file does; None for a missing file."""
    try:
        if path is None:
            return None
        found = path.stat()
    except OSError:
        return None
    return str(path.resolve()), found.st_size, found.st_mtime_ns
