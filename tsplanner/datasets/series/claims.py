"""What an answer says of a series, and whether it is true. Pure; English and Chinese words.

An answer is compared with the series and not with the words of another answer: "The peak is 12.3 at
point 45" makes two claims, and both can be checked. Which claims a question asks for is read from
the reference answer, and only from what the reference says rightly: where it does not agree with
the series, its words mean something that is not understood here, and nothing is held against the
model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeAlias

from memory_models.frozen import frozen
from tsplanner.datasets.series.figures import Trend, figures

VALUE_SHARE = 0.02
"""Share of a series' range by which a stated value may be off."""
POSITION_SHARE = 0.02
"""Share of the points by which a stated place may be off, at least one point: answers count from 0
as well as from 1."""


class ClaimKind(StrEnum):
    """What an answer can state of a series."""

    LARGEST = "maximum"
    LARGEST_AT = "place of the maximum"
    SMALLEST = "minimum"
    SMALLEST_AT = "place of the minimum"
    MEAN = "mean"
    TREND = "trend"


@frozen
class Claim:
    """One statement; which of the fields it has depends on its kind."""

    kind: ClaimKind
    number: float = 0.0
    """Value or place."""
    rounding: float = 0.0
    """Half a unit of the last digit that is stated."""
    quarter: int | None = None
    """Quarter of the series, from 0, where a place is stated so."""
    trend: Trend | None = None


@frozen
class Expected:
    """A claim that the reference answer makes rightly, so that an answer should make it too."""

    kind: ClaimKind
    occurrence: int
    """Number of claims of this kind before it in the reference answer."""
    series: int
    """Number of the series that it is true of, from 0."""


_CLAUSE = re.compile(r"[.!?](?=\s|$)|[;\n。；！？]")
_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?"
_POINTS = (
    r"(?:\b(?:points?|index|position|steps?|time ?steps?|timestamp|samples?|place)"
    r"(?: (?:number|no\.|of|is|at))?|\bt ?=|[点第]|位置|索引|时刻)[\s:#=为是在约]*"
)
_PLACE = re.compile(rf"{_POINTS}({_NUMBER})")
_VALUE = re.compile(rf"(?<![a-z0-9_.]){_NUMBER}")
_ASKS_PLACE = re.compile(r"\b(?:which|what) (?:point|index|position|step)|\bwhere\b|哪个点|位置")
Kinds: TypeAlias = tuple[ClaimKind, ClaimKind | None]
"""The claim of a figure's value, and the claim of its place."""
_QUARTERS = {"first": 0, "second": 1, "third": 2, "last": 3, "fourth": 3, "final": 3}
_QUARTER = re.compile(rf"\b({'|'.join(_QUARTERS)}) quarter\b")
_FIGURES: tuple[tuple[str, ClaimKind, ClaimKind | None], ...] = (
    (
        r"\bmax(?:imum|ima|imal)?\b|\bpeaks?\b|\bpeaked\b|\bhighest\b|\blargest\b"
        r"|最大|最高|峰值|顶峰",
        ClaimKind.LARGEST,
        ClaimKind.LARGEST_AT,
    ),
    (
        r"\bmin(?:imum|ima|imal)?\b|\btroughs?\b|\blowest\b|\bsmallest\b|最小|最低|谷值|低谷",
        ClaimKind.SMALLEST,
        ClaimKind.SMALLEST_AT,
    ),
    (r"\bmean\b|\baverages?\b|平均|均值", ClaimKind.MEAN, None),
)
_FIGURE = re.compile("|".join(f"({words})" for words, _, _ in _FIGURES))
_CONTEXT = re.compile(r"\btrend|\bmovement|\boverall\b|\bin general\b|趋势|整体|总体|走势")
_RISING = (
    r"\bris(?:es?|ing)\b|\bincreas(?:es?|ing)\b|\bclimb(?:s|ing)?\b|\bgrow(?:s|ing)?\b"
    r"|上升|增长|上涨|递增|升高"
)
_FALLING = (
    r"\bfall(?:s|ing)?\b|\bdecreas(?:es?|ing)\b|\bdeclin(?:es?|ing)\b|\bsink(?:s|ing)?\b"
    r"|下降|下跌|减少|递减|降低"
)
_SURE = re.compile(rf"({_RISING})|({_FALLING})|(\bsideways\b|平稳|持平)")
"""Words that name a trend by themselves."""
_WITH_CONTEXT = re.compile(
    rf"({_RISING}|\bup(?:ward|wards)?\b|\bhigher\b|\bpositive\b|\bascending\b)"
    rf"|({_FALLING}|\bdown(?:ward|wards)?\b|\blower\b|\bnegative\b|\bdescending\b)"
    r"|(\bsideways\b|\bflat\b|\bstable\b|\bsteady\b|\bconstant\b|\blevel\b|\bno (?:clear )?trend\b"
    r"|平稳|持平|稳定|不变)"
)
"""Words that name one where the clause speaks of a trend."""
_TRENDS = (Trend.RISING, Trend.FALLING, Trend.FLAT)
_NEGATED = re.compile(r"(?:\bnot?\b|\bnever\b|\bwithout\b|无|没有|不)[^,，]{0,24}$")


def claims(answer: str, question: str = "") -> tuple[Claim, ...]:
    """The claims of an answer in their order.

    Where the answer names no figure, the question says which one is meant: "Peak?" "Point 12."
    """
    text, asked = answer.lower().replace("−", "-"), question.lower()
    topics = {_kinds_of(word) for word in _FIGURE.finditer(asked)}
    topic = topics.pop() if len(topics) == 1 and not _FIGURE.search(text) else None
    found: list[Claim] = []
    for clause in _CLAUSE.split(text):
        parts = _parts(clause)
        if topic is not None:
            place = _ASKS_PLACE.search(asked) and not _PLACE.search(clause)
            parts = [(topic, f"point {clause.strip()}" if place else clause)]
        for kinds, part in parts:
            found += _figure_claims(kinds, part)
        # A jump or a spike "up at point 9" is no trend.
        if not parts and not _PLACE.search(clause):
            found += _trend_claims(clause, asked=_CONTEXT.search(asked) is not None)
    return tuple(found)


def _kinds_of(word: re.Match[str]) -> Kinds:
    return _FIGURES[(word.lastindex or 1) - 1][1:]


def _parts(clause: str) -> list[tuple[Kinds, str]]:
    """What is said of the largest value, of the smallest and of the mean, each by its word."""
    words = list(_FIGURE.finditer(clause))
    starts = [0, *(word.start() for word in words[1:])]
    ends = [*starts[1:], len(clause)]
    return [
        (_kinds_of(word), clause[start:end])
        for word, start, end in zip(words, starts, ends, strict=False)
    ]


def _figure_claims(kinds: Kinds, part: str) -> list[Claim]:
    value_kind, place_kind = kinds
    found = []
    place = _PLACE.search(part)
    quarter = _QUARTER.search(part)
    if place_kind is not None and place is not None:
        found.append(Claim(kind=place_kind, number=_number(place[1])))
    elif place_kind is not None and quarter is not None:
        found.append(Claim(kind=place_kind, quarter=_QUARTERS[quarter[1]]))
    value = _VALUE.search(_PLACE.sub(" ", part))
    if value is not None:
        found.append(Claim(kind=value_kind, number=_number(value[0]), rounding=_rounding(value[0])))
    return found


def _trend_claims(clause: str, *, asked: bool) -> list[Claim]:
    words = _WITH_CONTEXT if asked or _CONTEXT.search(clause) else _SURE
    word = words.search(clause)
    if word is None or _NEGATED.search(clause[: word.start()]):
        return []
    return [Claim(kind=ClaimKind.TREND, trend=_TRENDS[(word.lastindex or 1) - 1])]


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _rounding(text: str) -> float:
    digits, _, exponent = text.partition("e")
    decimals = len(digits.partition(".")[2])
    # The text of a number, unlike a power, cannot overflow.
    return float(f"5e{int(exponent or 0) - decimals - 1}")


def is_true(claim: Claim, series: Sequence[float]) -> bool:
    """Whether a claim holds of a series, within the tolerances above."""
    known = figures(series)
    if claim.kind is ClaimKind.TREND:
        return claim.trend is known.trend
    if claim.kind is ClaimKind.LARGEST_AT:
        return _is_near(claim, series, known.largest)
    if claim.kind is ClaimKind.SMALLEST_AT:
        return _is_near(claim, series, known.smallest)
    true = {
        ClaimKind.LARGEST: known.largest,
        ClaimKind.SMALLEST: known.smallest,
        ClaimKind.MEAN: known.mean,
    }[claim.kind]
    allowed = max(VALUE_SHARE * (known.largest - known.smallest), claim.rounding)
    return math.isfinite(claim.number) and abs(claim.number - true) <= allowed * (1 + 1e-9)


def _is_near(claim: Claim, series: Sequence[float], value: float) -> bool:
    """Whether the value stands near the stated place, or in the stated quarter."""
    points = len(series)
    if claim.quarter is not None:
        first = series.index(value)
        return min(3, 4 * first // points) == claim.quarter
    off = max(1.0, POSITION_SHARE * points)
    return any(
        seen == value and abs(place - claim.number) <= off
        for place, seen in enumerate(series, start=1)
    )


def expected_claims(
    reference: str, series: Sequence[Sequence[float]], question: str = ""
) -> tuple[Expected, ...]:
    """The claims of a reference answer that are true of one of its series."""
    found, counts = [], dict.fromkeys(ClaimKind, 0)
    for claim in claims(reference, question):
        true_of = next((n for n, each in enumerate(series) if is_true(claim, each)), None)
        if true_of is not None:
            found.append(Expected(kind=claim.kind, occurrence=counts[claim.kind], series=true_of))
        counts[claim.kind] += 1
    return tuple(found)


def right_claims(
    answer: str,
    expected: Sequence[Expected],
    series: Sequence[Sequence[float]],
    question: str = "",
) -> tuple[bool, ...]:
    """Whether an answer makes each expected claim, and makes it rightly."""
    made: dict[ClaimKind, list[Claim]] = {kind: [] for kind in ClaimKind}
    for claim in claims(answer, question):
        made[claim.kind].append(claim)
    return tuple(
        each.occurrence < len(made[each.kind])
        and is_true(made[each.kind][each.occurrence], series[each.series])
        for each in expected
    )
