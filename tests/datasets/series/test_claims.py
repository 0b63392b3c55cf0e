"""What answers say of series, and whether it is true; every figure is worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.datasets.rows.readers import read_conversations
from tsplanner.datasets.series.claims import (
    Claim,
    ClaimKind,
    Expected,
    claims,
    expected_claims,
    is_true,
    right_claims,
)
from tsplanner.datasets.series.figures import Trend
from tsplanner.planner.gather.requests import sample_dataset

HILL = (0.0, 2.0, 4.0, 10.0, 6.0, 4.0, 3.0, 2.0, 1.0, 1.0)
"""Largest 10 at point 4, smallest 0 at point 1, mean 3.3."""
RISE = tuple(float(value) for value in range(100))


def stated(answer: str) -> list[tuple[ClaimKind, float]]:
    """Kinds and numbers of an answer's claims."""
    return [(claim.kind, claim.number) for claim in claims(answer)]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (
            "The peak is 12.3 at point 45.",
            [(ClaimKind.LARGEST_AT, 45.0), (ClaimKind.LARGEST, 12.3)],
        ),
        (
            "Maximum of 1,234.5 near index 17 and a minimum of -3.2e1 at step 80",
            [
                (ClaimKind.LARGEST_AT, 17.0),
                (ClaimKind.LARGEST, 1234.5),
                (ClaimKind.SMALLEST_AT, 80.0),
                (ClaimKind.SMALLEST, -32.0),
            ],
        ),
        (
            "最大值为12.5，出现在第45个点。最小值是-3。",
            [
                (ClaimKind.LARGEST_AT, 45.0),
                (ClaimKind.LARGEST, 12.5),
                (ClaimKind.SMALLEST, -3.0),
            ],
        ),
        (
            "12.3 is the maximum, and the mean is 4",
            [(ClaimKind.LARGEST, 12.3), (ClaimKind.MEAN, 4)],
        ),
        ("A spike points up at point 9.", []),
        ("The pattern repeats every 12 steps.", []),
        ("No maximum is visible.", []),
    ],
)
def test_numbers_belong_to_the_word_that_they_stand_beside(
    answer: str, found: list[tuple[ClaimKind, float]]
) -> None:
    """A number after a word for points is a place, any other one is a value."""
    assert stated(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("The series rises.", Trend.RISING),
        ("Movement: sinking, mild.", Trend.FALLING),
        ("The trend is flat.", Trend.FLAT),
        ("总体呈上升趋势", Trend.RISING),
        ("整体下降", Trend.FALLING),
        ("Overall it goes up.", Trend.RISING),
        ("There is no upward trend.", None),
        ("The level jumps up.", None),
        ("没有上升趋势", None),
    ],
)
def test_a_trend_is_read_where_a_clause_speaks_of_one(answer: str, found: Trend | None) -> None:
    """Up and down mean a trend only beside such a word, and what is denied is no claim."""
    assert [claim.trend for claim in claims(answer)] == ([] if found is None else [found])


@pytest.mark.parametrize(
    ("question", "answer", "found"),
    [
        ("Peak?", "Point 12.", [(ClaimKind.LARGEST_AT, 12.0)]),
        ("Where is the minimum?", "12", [(ClaimKind.SMALLEST_AT, 12.0)]),
        ("What is the average?", "About 3.5.", [(ClaimKind.MEAN, 3.5)]),
        ("最大值在哪个点？", "第12点。", [(ClaimKind.LARGEST_AT, 12.0)]),
        # The answer's own words go first, and of two figures neither is meant.
        ("Peak?", "The minimum is 2.", [(ClaimKind.SMALLEST, 2.0)]),
        ("Peak and minimum?", "Point 12.", []),
    ],
)
def test_the_question_says_what_a_short_answer_means(
    question: str, answer: str, found: list[tuple[ClaimKind, float]]
) -> None:
    """People ask for one thing, and answer with a number."""
    assert [(claim.kind, claim.number) for claim in claims(answer, question)] == found


def test_a_question_about_a_trend_lets_plain_words_name_one() -> None:
    """Without it "flat" may be said of anything."""
    assert claims("It is flat.") == ()
    (claim,) = claims("It is flat.", "What is the trend?")
    assert claim.trend is Trend.FLAT


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        # The range is 10: a value may be off by 0.2, or by half a unit of its last digit.
        ("The maximum is 10.", True),
        ("The maximum is 9.8.", True),
        ("The maximum is 9.3.", False),
        ("The maximum is 9.", False),
        ("The maximum is 1e999.", False),
        ("The mean is 3.3.", True),
        ("The mean is 3.", True),
        ("The mean is 4.", False),
        ("The mean is 3.6.", False),
        # One point off is right, counted from 0 or from 1.
        ("The peak is at point 3.", True),
        ("The peak is at point 6.", False),
        # Point 4 of 10 is in the second quarter.
        ("Peak: second quarter.", True),
        ("Peak: first quarter.", False),
    ],
)
def test_a_claim_is_held_against_the_series(answer: str, holds: bool) -> None:
    """Within tolerances that forgive rounding, and nothing else."""
    (claim,) = claims(answer)
    assert is_true(claim, HILL) is holds


def test_a_place_may_be_off_by_two_in_a_hundred_points() -> None:
    """The largest of 0 to 99 stands at point 100."""
    assert is_true(Claim(kind=ClaimKind.LARGEST_AT, number=98.0), RISE)
    assert not is_true(Claim(kind=ClaimKind.LARGEST_AT, number=97.0), RISE)


def test_any_of_several_largest_values_is_the_peak() -> None:
    """A plateau has no single place."""
    plateau = (0.0, 5.0, 5.0, 5.0, 5.0, 5.0, 0.0)
    assert is_true(Claim(kind=ClaimKind.LARGEST_AT, number=6.0), plateau)


def test_only_what_the_reference_says_rightly_is_expected() -> None:
    """Its peak at point 9 is not the series': what it calls a peak is not understood here."""
    assert expected_claims("The peak is at point 9, with 10.", [HILL]) == (
        Expected(kind=ClaimKind.LARGEST, occurrence=0, series=0),
    )
    assert expected_claims("It repeats every 12 steps.", [HILL]) == ()


def test_an_answer_makes_the_expected_claims_in_their_order() -> None:
    """The first maximum is that of the first series, the second that of the second."""
    series = [HILL, RISE]
    expected = expected_claims("Maximum 10, then the maximum 99. It rises.", series)
    assert [each.series for each in expected] == [0, 1, 1]
    assert right_claims("Maximum 10, maximum 98. It falls.", expected, series) == (
        True,
        True,
        False,
    )
    assert right_claims("Maximum 99.", expected, series) == (False, False, False)


@given(st.text(max_size=200), st.text(max_size=40))
def test_any_text_has_claims_or_none(text: str, question: str) -> None:
    """No answer of a half-trained model ends a run, and each claim can be compared."""
    for claim in claims(text, question):
        assert is_true(claim, HILL) in (True, False)


def test_the_samples_answers_are_understood_where_they_speak_of_such_things() -> None:
    """All of its movements, peaks and troughs are found true; its other answers claim nothing."""
    understood, silent = set(), set()
    for row in read_conversations(sample_dataset()):
        question, answer = (turn.content for turn in row.turns)
        expected = expected_claims(answer, row.timeseries, question)
        assert len(expected) == len(claims(answer, question))
        assert all(right_claims(answer, expected, row.timeseries, question))
        (understood if expected else silent).add(answer.partition(":")[0])
    assert understood == {"Movement", "Peak", "Trough"}
    assert silent == {"Break", "Ends", "Outlier", "Pair", "Recurrence"}
