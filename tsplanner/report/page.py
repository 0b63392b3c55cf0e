"""A page as data: sections of sentences, tables and charts, in no language yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """A message by its key in `tsplanner/report/messages`, with the values that fill its places."""

    key: str
    values: Mapping[str, Text | tuple[Text, ...]] = field(default_factory=dict)
    """A tuple is a list of things; each language joins it in its own way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A sentence that exists in English alone: of a plan, a record or a file."""

    text: str


Text = str | Phrase | Original
"""A plain ``str`` is a figure or a name, the same in every language."""


def words(key: str, **values: Text | tuple[Text, ...]) -> Phrase:
    """A phrase, shorter to write."""
    return Phrase(key=key, values=values)


class Tone(StrEnum):
    """What a sentence is: said, good news, a warning, a refusal, or small print."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    REFUSAL = "refusal"
    SMALL = "small"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """One sentence or a few."""

    text: Text
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Over a part of a section."""

    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """Sentences of one kind."""

    items: tuple[Text, ...]
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A table's column."""

    heading: Text
    numeric: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells; the first cell of a row names it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Text, ...], ...]


class Line(StrEnum):
    """Which loss a line is."""

    TRAINING = "training"
    HELD_OUT = "held-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a chart: (step, nats a token) in order."""

    line: Line
    label: Text
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """Losses over steps."""

    title: Text
    curves: tuple[Curve, ...]
    epochs: tuple[tuple[float, str], ...] = ()
    """(step at which an epoch ends, its number)."""
    best: tuple[float, float] | None = None
    """The evaluation with the lowest loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a bar."""

    label: Text
    color: int
    """Position in the renderer's palette."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Parts one after the other; ``upper``: a 95 % bound of their sum, in bytes."""

    label: Text
    parts: tuple[Part, ...]
    upper: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Stacked bars of bytes, one under the other."""

    title: Text
    bars: tuple[Bar, ...]
    limit: int | None = None
    """Bytes that were free."""


Chart = LineChart | BarChart


@dataclass(frozen=True, slots=True, kw_only=True)
class Charts:
    """Charts of one kind side by side."""

    items: tuple[Chart, ...]


Block = Paragraph | Heading | Bullets | Table | Charts


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page."""

    name: str
    """Anchor, the same in every language."""
    heading: Text
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that is said, once, for every format and language."""

    title: Text
    sections: tuple[Section, ...]
