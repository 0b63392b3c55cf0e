"""Checks of a row: each gives a short reason that a person can act on, or None for a good row."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.records import Conversation, Fault, Role

TS_START = "<ts>"
TS_END = "<ts/>"
PLACEHOLDER = TS_START + TS_END

Check = Callable[[Conversation], str | None]


def _asked(row: Conversation) -> str:
    """All text that a series may belong to."""
    if row.text is not None:
        return row.text
    return "\n".join(turn.content for turn in row.turns if turn.role is not Role.ASSISTANT)


def _answered(row: Conversation) -> Iterator[str]:
    return (turn.content for turn in row.turns if turn.role is Role.ASSISTANT)


def _count_fault(row: Conversation) -> str | None:
    placeholders = _asked(row).count(PLACEHOLDER)
    if placeholders == len(row.timeseries):
        return None
    return f"{placeholders} {PLACEHOLDER} in the input but {len(row.timeseries)} series"


def _lone_marker_fault(row: Conversation) -> str | None:
    text = _asked(row)
    pairs = text.count(PLACEHOLDER)
    if text.count(TS_START) == pairs == text.count(TS_END):
        return None
    return f"a lone {TS_START} or {TS_END} in the input"


def _answer_fault(row: Conversation) -> str | None:
    for marker in (TS_START, TS_END):
        if any(marker in answer for answer in _answered(row)):
            return f"{marker} in the output"
    return None


def _empty_series_fault(row: Conversation) -> str | None:
    for number, series in enumerate(row.timeseries, start=1):
        if not series:
            return f"series {number} is empty"
    return None


def _empty_answer_fault(row: Conversation) -> str | None:
    if row.text is not None:
        return None if row.text.strip() else "the text is empty"
    for turn in reversed(row.turns):
        said = turn.content.strip() or turn.tool_calls or turn.thoughts.strip()
        if turn.role is Role.ASSISTANT and said:
            return None
    return "the answer is empty"


def _no_dialogue_fault(row: Conversation) -> str | None:
    answered = any(turn.role is Role.ASSISTANT for turn in row.turns[:0:-1])
    return None if answered or row.text is not None else "no question followed by an answer"


# The order counts: of several faults of one row the first is named, and only that one is counted.
TEXT_CHECKS: tuple[tuple[Fault, Check], ...] = (
    (Fault.NO_DIALOGUE, _no_dialogue_fault),
    (Fault.EMPTY_ANSWER, _empty_answer_fault),
)
SERIES_CHECKS: tuple[tuple[Fault, Check], ...] = (
    (Fault.EMPTY_SERIES, _empty_series_fault),
    (Fault.SERIES_COUNT, _count_fault),
    (Fault.LONE_MARKER, _lone_marker_fault),
    (Fault.MARKER_IN_ANSWER, _answer_fault),
)


def conversation_fault(
    row: Conversation, *, encoder: TimeSeriesEncoder | None, text_only: bool = False
) -> tuple[Fault, str] | None:
    """Why this row cannot be trained on; None if it can.

    The checks on series apply to rows with series and to models with an encoder, whose tokenizer
    gives the markers a meaning. For other models the markers are plain text. ``text_only``: the
    model reads no series, and a row with some is bad.
    """
    if row.timeseries and text_only:
        return Fault.SERIES, (
            "holds time series, and the model has no time-series encoder; choose a ChatTS model "
            "or a text dataset"
        )
    checks = TEXT_CHECKS
    if row.timeseries or encoder is not None:
        checks += SERIES_CHECKS
    for fault, check in checks:
        if (reason := check(row)) is not None:
            return fault, reason
    reason = _length_fault(row, encoder) if encoder is not None else None
    return None if reason is None else (Fault.TOO_MANY_POINTS, reason)


def _length_fault(row: Conversation, encoder: TimeSeriesEncoder) -> str | None:
    # Only a position table has an end: without one a series may have any length.
    if not encoder.use_position_embedding:
        return None
    for number, series in enumerate(row.timeseries, start=1):
        if len(series) > encoder.max_sequence_length:
            return (
                f"series {number} has {len(series)} points, more than the model's "
                f"max_sequence_length {encoder.max_sequence_length}"
            )
    return None
