"""A page as data: sections of sentences, tables and charts, in no language yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from memory_models.frozen import frozen


@frozen
class Phrase:
    """A message by its key in `tsplanner/report/messages`, with the values that fill its places."""

    key: str
    values: Mapping[str, Text | tuple[Text, ...]] = field(default_factory=dict)
    """A tuple is a list; each language joins the items in its own way."""


@frozen
class Original:
    """A sentence that exists only in English, such as one of a plan or a record."""

    text: str


@frozen
class Both:
    """A sentence that the planner says in either language."""

    english: str
    chinese: str


Remark = str | Both
"""A sentence on a run, in English alone or in both languages."""
Text = str | Phrase | Original | Both
"""A plain ``str`` is a figure or a name, the same in every language."""


def words(key: str, **values: Text | tuple[Text, ...]) -> Phrase:
    """A phrase of a message, in fewer letters."""
    return Phrase(key=key, values=values)


class Tone(StrEnum):
    """The tone of a sentence: plain, good news, a warning, a refusal, or small print."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    REFUSAL = "refusal"
    SMALL = "small"


@frozen
class Paragraph:
    """One or a few sentences."""

    text: Text
    tone: Tone = Tone.PLAIN


@frozen
class Figure:
    """A headline figure, what it is, and what to hold against it."""

    label: Text
    value: Text
    note: Text


@frozen
class Figures:
    """The few figures that a reader came for."""

    items: tuple[Figure, ...]


@frozen
class Heading:
    """The heading of a part of a section."""

    text: Text


@frozen
class Bullets:
    """A list of sentences of one tone."""

    items: tuple[Text, ...]
    tone: Tone = Tone.PLAIN


@frozen
class Column:
    """A column of a table."""

    heading: Text
    numeric: bool = False


@frozen
class Table:
    """Rows of cells; the first cell of a row names it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Text, ...], ...]


class Line(StrEnum):
    """The loss that a line shows."""

    TRAINING = "training"
    HELD_OUT = "held-out"
    TRIAL = "trial"
    """Held-out loss of a trial of the search."""


@frozen
class Curve:
    """One line of a chart: (step, nats per token) in order of the steps."""

    line: Line
    label: Text
    points: tuple[tuple[float, float], ...]


@frozen
class LineChart:
    """Losses over steps."""

    title: Text
    curves: tuple[Curve, ...]
    epochs: tuple[tuple[float, str], ...] = ()
    """(step at which an epoch ends, its number)."""
    best: tuple[float, float] | None = None
    """The evaluation with the lowest loss."""


@frozen
class Part:
    """A part of a bar, in bytes."""

    label: Text
    color: int
    """Number of the color in the style sheet."""
    bytes: int


@frozen
class Bar:
    """Parts one after the other; ``upper`` is a 95 % bound of their sum in bytes."""

    label: Text
    parts: tuple[Part, ...]
    upper: int | None = None


@frozen
class BarChart:
    """Stacked bars of bytes, one under the other."""

    title: Text
    bars: tuple[Bar, ...]
    limit: int | None = None
    """Bytes that were free."""


Chart = LineChart | BarChart


@frozen
class Charts:
    """Charts of one kind side by side."""

    items: tuple[Chart, ...]


@frozen
class Folded:
    """Blocks that a reader unfolds."""

    summary: Text
    blocks: tuple[Block, ...]


Block = Paragraph | Figures | Heading | Bullets | Table | Charts | Folded


@frozen
class Section:
    """A part of the page."""

    name: str
    """Anchor, the same in every language."""
    heading: Text
    blocks: tuple[Block, ...]


@frozen
class Page:
    """The whole report, once, for every format and language."""

    title: Text
    sections: tuple[Section, ...]
