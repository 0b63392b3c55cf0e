"""Rows of a dataset on the screen, as a model will see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from memory_models.units import counted
from tsplanner.commands.views.screen import Screen
from tsplanner.datasets.shown import Part, ShownRow, Stretch

OPEN, CLOSE = "⟦", "⟧"
"""Around what carries loss where there is no colour; rows seldom hold these brackets."""
LINE_END = "↵"
MOST_CHARACTERS = 1600
"""Characters of a row that are shown; a longer one loses its middle."""
STYLES = {Part.READ: "", Part.LEARNED: "bold green", Part.CUT: "dim strike", Part.SPEAKER: "dim"}


def legend(screen: Screen) -> str:
    """What the marks of `print_row` mean."""
    if screen.has_colours:
        return "green: tokens that carry loss"
    return f"{OPEN} {CLOSE}: tokens that carry loss"


def print_row(screen: Screen, row: ShownRow, number: int, *, whole: bool = False) -> None:
    """Print a row; ``whole``: with its middle, however long it is."""
    screen.line(heading(row, number), "bold")
    if row.unwritten:
        words = ", ".join(row.unwritten)
        screen.line(f"  the model's template does not write of it: {words}", "yellow")
    stretches = row.stretches if whole else shortened_row(row.stretches)
    for line in lines(stretches):
        if screen.has_colours:
            screen.styled([("  ", ""), *((each.text, STYLES[each.part]) for each in line)])
        else:
            screen.line("  " + bracketed(line))


def heading(row: ShownRow, number: int) -> str:
    """The number of a row, its line and what is known of its tokens."""
    file = f" of file {row.conversation.file + 1:,}" if row.conversation.file else ""
    parts = [f"row {number:,}, line {row.conversation.line:,}{file}"]
    if row.ids is not None:
        parts += [
            counted(len(row.ids), "token"),
            f"{row.learned_tokens:,} carry loss",
        ]
    if row.tokens_cut:
        parts.append(f"{row.tokens_cut:,} cut")
    if series := row.conversation.timeseries:
        points = ", ".join(f"{len(values):,}" for values in series)
        parts.append(f"{len(series):,} series of {points} points")
    return " · ".join(parts)


def shortened_row(stretches: Iterable[Stretch], most: int = MOST_CHARACTERS) -> tuple[Stretch, ...]:
    """The beginning and the end of a row, and between them how much is left out."""
    found = tuple(stretches)
    total = sum(len(each.text) for each in found)
    if total <= most:
        return found
    half = most // 2
    gap = Stretch(text=f" … {total - 2 * half:,} characters more … ", part=Part.READ)
    return (*_between(found, 0, half), gap, *_between(found, total - half, total))


def _between(stretches: tuple[Stretch, ...], start: int, end: int) -> Iterator[Stretch]:
    done = 0
    for each in stretches:
        text = each.text[max(0, start - done) : max(0, end - done)]
        done += len(each.text)
        if text:
            yield Stretch(text=text, part=each.part)


def lines(stretches: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    """The stretches line by line, each line end with a sign of its own."""
    line: list[Stretch] = []
    for each in stretches:
        *ended, rest = each.text.split("\n")
        for text in ended:
            # Behind a speaker's turn the line ends on the screen alone.
            end = "" if each.part is Part.SPEAKER else LINE_END
            yield [*line, Stretch(text=text + end, part=each.part)]
            line = []
        if rest:
            line.append(Stretch(text=rest, part=each.part))
    if line:
        yield line


def bracketed(line: Iterable[Stretch]) -> str:
    """A line with brackets around what carries loss, and a word around what is cut."""
    marks = {Part.LEARNED: (OPEN, CLOSE), Part.CUT: ("(cut: ", ")")}
    found = []
    for each in line:
        before, after = marks.get(each.part, ("", ""))
        found.append(f"{before}{each.text}{after}")
    return "".join(found)
