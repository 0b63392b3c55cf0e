"""What a dataset is made of, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One training row: a question, its answer and the series the question speaks of."""

    input: str
    """Text of the question; each ``<ts><ts/>`` in it stands for one series."""
    output: str
    """Text of the answer, the only part that is trained on."""
    timeseries: tuple[tuple[float, ...], ...] = field(default=())
    """Raw values, one tuple a placeholder, in the order of the placeholders."""
    line: int
    """Line of the file where the row starts, counted from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedRow:
    """A row that is not trained on, and why."""

    line: int
    reason: str


class OnBad(StrEnum):
    """What a reader does with a row it cannot use."""

    REFUSE = "refuse"
    """Stop with an error that names the row."""
    DROP = "drop"
    """Leave the row out and count it."""
