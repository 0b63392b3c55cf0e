"""Faults of a row, each a short reason a person can act on; None means the row is good."""

from __future__ import annotations

from collections.abc import Callable

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.records import Sample

TS_START = "<ts>"
TS_END = "<ts/>"
PLACEHOLDER = TS_START + TS_END

# Values beyond this overflow the sums of the normalisation; no measurement reaches it.
LARGEST_VALUE = 1e100


def _count_fault(sample: Sample) -> str | None:
    placeholders = sample.input.count(PLACEHOLDER)
    if placeholders == len(sample.timeseries):
        return None
    return f"{placeholders} {PLACEHOLDER} in the input but {len(sample.timeseries)} series"


def _stray_marker_fault(sample: Sample) -> str | None:
    pairs = sample.input.count(PLACEHOLDER)
    if sample.input.count(TS_START) == pairs == sample.input.count(TS_END):
        return None
    return f"a lone {TS_START} or {TS_END} in the input"


def _answer_fault(sample: Sample) -> str | None:
    for marker in (TS_START, TS_END):
        if marker in sample.output:
            return f"{marker} in the output"
    return None


def _empty_series_fault(sample: Sample) -> str | None:
    for number, series in enumerate(sample.timeseries, start=1):
        if not series:
            return f"series {number} is empty"
    return None


def _value_fault(sample: Sample) -> str | None:
    # One comparison chain finds NaN, both infinities and what would overflow.
    for number, series in enumerate(sample.timeseries, start=1):
        for value in series:
            if not -LARGEST_VALUE <= value <= LARGEST_VALUE:
                return f"series {number} holds {value}, which is not a usable number"
    return None


def _empty_answer_fault(sample: Sample) -> str | None:
    return None if sample.output.strip() else "the output is empty"


TEXT_CHECKS: tuple[Callable[[Sample], str | None], ...] = (_empty_answer_fault,)
SERIES_CHECKS: tuple[Callable[[Sample], str | None], ...] = (
    _empty_series_fault,
    _value_fault,
    _count_fault,
    _stray_marker_fault,
    _answer_fault,
)


def sample_fault(
    sample: Sample, *, encoder: TimeSeriesEncoder | None, holds_series: bool
) -> str | None:
    """Why this row cannot be trained on; None if it can.

    The checks on series apply to rows of a format with series, and to every row of a model with
    an encoder: there the markers are tokens with a meaning, elsewhere they are plain text.
    """
    checks = TEXT_CHECKS
    if holds_series or encoder is not None:
        checks += SERIES_CHECKS
    for check in checks:
        if (reason := check(sample)) is not None:
            return reason
    return _length_fault(sample, encoder) if encoder is not None else None


def _length_fault(sample: Sample, encoder: TimeSeriesEncoder) -> str | None:
    if not encoder.use_position_embedding:
        return None
    for number, series in enumerate(sample.timeseries, start=1):
        if len(series) > encoder.max_sequence_length:
            return (
                f"series {number} has {len(series)} points, more than the model's "
                f"max_sequence_length {encoder.max_sequence_length}"
            )
    return None
