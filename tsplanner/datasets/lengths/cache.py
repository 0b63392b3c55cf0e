"""A cache of dataset lengths: the next plan does not read an unchanged file again."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tsplanner import __version__
from tsplanner.datasets.records import (
    DroppedKind,
    LengthBin,
    LengthSummary,
    ReadJob,
    Remark,
    RowContent,
)
from tsplanner.datasets.stamps import read_stamps, stamp
from tsplanner.errors import TsplannerError
from tsplanner.reading import decoded, read_text
from tsplanner.runs import write_text
from tsplanner.settings import state_parts

SUMMARY_VERSION = 8
"""Version of the fields of LengthSummary; a summary of an older version is counted anew."""


def length_summary(
    job: ReadJob,
    *,
    on_bad: str,
    dropped_file: Path | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> LengthSummary:
    """Summary of `row_stats`, from the state folder if the files and the settings are unchanged.

    Raises TsplannerError: as `row_stats` does; a refusal is never cached.
    """
    import hashlib  # only a plan with a dataset needs it

    made_by = (__version__, SUMMARY_VERSION)
    asked = (job.source.columns, job.cutoff_len, str(job.encoder), str(job.loss_on), str(on_bad))
    facts = (made_by, read_stamps(job), asked)
    key = hashlib.sha256(repr((facts, str(dropped_file))).encode()).hexdigest()[:32]
    file = state_parts()["row lengths"] / f"{key}.json"
    # A damaged note is no error: the rows are counted anew, and a new note takes its place.
    with suppress(OSError, ValueError, TypeError, KeyError):
        noted = decoded(read_text(file))
        known = _summary(noted["summary"])
        # A person may have edited or deleted the list of dropped rows, which the plan names.
        listed = stamp(dropped_file)
        if noted["dropped_file"] == (None if listed is None else list(listed)):
            return known
    # The readers are imported only here: a plan whose lengths are known does not wait for them.
    from tsplanner.datasets.lengths.scan import ScanOptions, row_stats
    from tsplanner.datasets.lengths.stats import (
        length_histogram,
        length_quantiles,
        longest_batch_length,
    )

    options = ScanOptions(dropped_file=dropped_file, progress=progress)
    stats = row_stats(job, on_bad=on_bad, options=options)
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
        content=stats.content,
    )
    note = {"summary": asdict(summary), "dropped_file": stamp(dropped_file)}
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
    content = found["content"]
    remarks = tuple(Remark(**remark) for remark in content["remarks"])
    records = {
        "dropped": tuple(kinds),
        "quantiles": tuple(found["quantiles"]),
        "histogram": tuple(LengthBin(**bar) for bar in found["histogram"]),
        "content": RowContent(**{**content, "remarks": remarks}),
    }
    return LengthSummary(**{**found, **records})
