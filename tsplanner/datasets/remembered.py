"""Lengths of a dataset, counted once: an unchanged file is not read again for the next plan."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from memory_models.architecture import TimeSeriesEncoder
from tsplanner import __version__
from tsplanner.errors import TsplannerError
from tsplanner.runs import write_text
from tsplanner.settings import state_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthSummary:
    """What a plan needs of a dataset's lengths; positions are those of the decoder."""

    rows_total: int
    rows_kept: int
    longest: int
    """Positions of the longest batch of one row."""
    longest_batch: int
    """Positions of the longest batch of several rows."""
    mean: float
    quantiles: tuple[int, ...]
    """Positions of batches of one row, see `length_quantiles`."""
    counted_by: str

    def __post_init__(self) -> None:
        """JSON knows no tuples."""
        object.__setattr__(self, "quantiles", tuple(self.quantiles))


def length_summary(
    path: Path,
    *,
    cutoff_len: int,
    encoder: TimeSeriesEncoder | None,
    tokenizer_folder: Path | None,
    on_bad: str,
) -> LengthSummary:
    """Summary of `length_stats`, from the state folder where file and settings are unchanged.

    Raises TsplannerError: as `length_stats` does; what was refused is never remembered.
    """
    tokenizer = tokenizer_folder / "tokenizer.json" if tokenizer_folder else None
    facts = (__version__, _stamp(path), _stamp(tokenizer), cutoff_len, str(encoder), on_bad)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    file = state_folder() / "lengths" / f"{key}.json"
    with suppress(OSError, ValueError, TypeError):
        return LengthSummary(**json.loads(file.read_text(encoding="utf-8")))
    from tsplanner.datasets.lengths import length_quantiles, length_stats, longest_batch_length

    stats = length_stats(
        path,
        cutoff_len=cutoff_len,
        encoder=encoder,
        tokenizer_folder=tokenizer_folder,
        on_bad=on_bad,
    )
    summary = LengthSummary(
        rows_total=stats.rows_total,
        rows_kept=stats.rows_kept,
        longest=longest_batch_length(stats, 1),
        longest_batch=longest_batch_length(stats, 2),
        mean=stats.mean,
        quantiles=length_quantiles(stats),
        counted_by=stats.counted_by,
    )
    with suppress(OSError, TsplannerError):  # a state folder that cannot be written costs only time
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(asdict(summary)) + "\n")
    return summary


def _stamp(path: Path | None) -> tuple[str, int, int] | None:
    """What changes when a file does: its place, size and time; None if it is not there."""
    try:
        if path is None:
            return None
        found = path.stat()
    except OSError:
        return None
    return str(path.resolve()), found.st_size, found.st_mtime_ns
