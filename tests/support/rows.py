"""Files of rows, and scans of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.lengths.scan import ScanOptions, length_stats
from tsplanner.datasets.lengths.stats import LengthStats
from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rows.turns import asked_and_answered

ENCODER = TimeSeriesEncoder(
    patch_size=8, num_layers=5, hidden_size=8, max_sequence_length=64, use_position_embedding=True
)
UNLIMITED_ENCODER = TimeSeriesEncoder(patch_size=8, num_layers=5, hidden_size=8)


def chatts(words: str = "Load", answer: str = "Up.", *series: list[float]) -> bytes:
    """Make a row with a placeholder for every series."""
    text = words + " <ts><ts/>" * len(series)
    return json.dumps({"input": text, "output": answer, "timeseries": list(series)}).encode()


def series_row(points: int, words: str = "Look") -> dict[str, object]:
    """Make a row with one series of ``points`` points."""
    return {"input": f"{words} <ts><ts/>", "output": "Up.", "timeseries": [[0.5] * points]}


def written(folder: Path, rows: list[dict[str, object]]) -> Path:
    """Write rows as JSON lines."""
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def written_bytes(folder: Path, content: bytes, name: str = "rows.jsonl") -> Path:
    """Write bytes under a name."""
    path = folder / name
    path.write_bytes(content)
    return path


def large_file(folder: Path) -> Path:
    """Write a file of three spans, with a fault in each."""
    path = folder / "rows.jsonl"
    with path.open("wb") as file:
        for number in range(9000):
            bad = number in (5, 4000, 8999)
            values = [float(number % 7 + step) / 8 for step in range(60)]
            row = chatts("Load " * (number % 90), "" if bad else "Up.", values, values)
            file.write(row + b"\n")
    return path


def stats(
    path: Path,
    *,
    workers: int = 1,
    cutoff_len: int = 300,
    on_bad: str = "drop",
    **more: Any,
) -> LengthStats:
    """Scan with faults dropped."""
    return length_stats(
        path,
        cutoff_len=cutoff_len,
        encoder=ENCODER,
        tokenizer_folder=None,
        on_bad=on_bad,
        options=ScanOptions(workers=workers, **more),
    )


def conversation(
    question: str,
    answer: str,
    timeseries: tuple[tuple[float, ...], ...] = (),
    line: int = 1,
) -> Conversation:
    """A question and its answer."""
    return Conversation(
        turns=asked_and_answered(question, answer), timeseries=timeseries, line=line
    )
