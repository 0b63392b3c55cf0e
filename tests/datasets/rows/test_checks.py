"""Faults of one row, with and without series."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import ENCODER, conversation
from tsplanner.datasets.records import Conversation, Fault
from tsplanner.datasets.rows.checks import conversation_fault

GOOD = {"question": "See <ts><ts/>", "answer": "Up.", "timeseries": ((1.0, 2.0),)}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"answer": "\n "}, Fault.EMPTY_ANSWER),
        ({"timeseries": ((),)}, Fault.EMPTY_SERIES),
        ({"timeseries": ()}, Fault.SERIES_COUNT),
        ({"question": "See <ts><ts/> and <ts/>"}, Fault.LONE_MARKER),
        ({"answer": "As <ts>"}, Fault.MARKER_IN_ANSWER),
        ({"timeseries": ((0.0,) * 65,)}, Fault.TOO_MANY_POINTS),
    ],
)
def test_a_row_with_series_has_one_fault_at_a_time(changes: dict, fault: Fault | None) -> None:
    """The encoder of these rows takes 64 points."""
    found = conversation_fault(conversation(**{**GOOD, **changes}), encoder=ENCODER)
    assert (found[0] if found else None) is fault


def test_the_first_fault_in_the_order_of_the_checks_is_named() -> None:
    """An empty answer is reported before a series that is missing."""
    row = conversation(**{**GOOD, "answer": "", "timeseries": ()})
    assert conversation_fault(row, encoder=ENCODER) == (
        Fault.EMPTY_ANSWER,
        "the answer is empty",
    )


def test_an_encoder_without_position_table_takes_a_series_of_any_length() -> None:
    """Only a table of positions has an end."""
    encoder = replace(ENCODER, use_position_embedding=False)
    row = conversation(**{**GOOD, "timeseries": ((0.0,) * 65,)})
    assert conversation_fault(row, encoder=encoder) is None


@given(text=st.text("<ts>/ a", min_size=1, max_size=20))
def test_markers_are_plain_text_to_a_model_without_encoder(text: str) -> None:
    """Only an empty answer is a fault of a text row."""
    row = conversation(text, text)
    found = conversation_fault(row, encoder=None)
    assert (found is None) == bool(text.strip())


def test_a_plain_text_has_no_marks_of_series_for_a_model_that_reads_series() -> None:
    """There is no series that they could stand for; a model without an encoder reads words."""
    row = Conversation(text="flow <ts><ts/>", line=1)
    assert conversation_fault(row, encoder=ENCODER) == (
        Fault.SERIES_COUNT,
        "1 <ts><ts/> in the input but 0 series",
    )
    assert conversation_fault(row, encoder=None) is None
