"""A dataset on the screen: the lengths of its rows, and the rows that were left out."""

from __future__ import annotations

from memory_models.units import counted
from tsplanner.datasets.records import DroppedKind, LengthBin, Noticed, Remark
from tsplanner.planner.plan import DatasetRef

BARS = " ▁▂▃▄▅▆▇█"
MOST_REMARKS = 8
"""Forms or fields that are named in one line."""


def dataset_lines(dataset: DatasetRef) -> list[tuple[str, str]]:
    """Pairs of words and style: a line about lengths, and a line for every fault of rows."""
    lines = []
    if dataset.lengths.histogram:
        lines.append((lengths_line(dataset), ""))
    lines += [(words, "dim") for words in remark_lines(dataset.lengths.remarks)]
    lines += [(dropped_line(kind), "yellow") for kind in dataset.lengths.dropped]
    if dataset.dropped_file is not None:
        lines.append((f"all rows left out are listed in {dataset.dropped_file}", "dim"))
    return lines


def lengths_line(dataset: DatasetRef) -> str:
    """The histogram of the lengths of rows, in one line."""
    bars = dataset.lengths.histogram
    quantiles = dataset.lengths.quantiles
    median = quantiles[len(quantiles) // 2] if quantiles else round(dataset.lengths.mean)
    words = (
        f"row lengths {bars[0].shortest:,} {histogram_bars(bars)} {bars[-1].longest:,} tokens, "
        f"median {median:,}"
    )
    if dataset.lengths.mean_text is None or dataset.lengths.mean_text >= dataset.lengths.mean:
        return words
    patches = dataset.lengths.mean - dataset.lengths.mean_text
    share = 100 * patches / dataset.lengths.mean
    return (
        f"{words} · mean {dataset.lengths.mean_text:,.0f} of text and {patches:,.0f} of series "
        f"({share:.0f} %)"
    )


def remark_lines(remarks: tuple[Remark, ...]) -> list[str]:
    """What was noticed in rows that are kept: forms, guesses and fields that were not read."""
    of_kind = {kind: [each for each in remarks if each.kind == kind] for kind in Noticed}
    lines = [each.text for each in of_kind[Noticed.FILES]]
    for kind, head in ((Noticed.FORM, "form"), (Noticed.IGNORED, "fields not read")):
        if found := of_kind[kind]:
            words = (f"{each.text} ({counted(each.rows, 'row')})" for each in found[:MOST_REMARKS])
            more = f" and {len(found) - MOST_REMARKS} more" if len(found) > MOST_REMARKS else ""
            lines.append(f"{head}: {', '.join(words)}{more}")
    for each in of_kind[Noticed.GUESS]:
        rows, line = counted(each.rows, "row"), f"{each.first_line:,}"
        lines.append(f"guessed: {each.text} ({rows}, the first at line {line})")
    return lines


def histogram_bars(bars: tuple[LengthBin, ...]) -> str:
    """A character for each bin; a bin that holds any row is never blank."""
    most = max(bar.rows for bar in bars)
    top = len(BARS) - 1
    return "".join(BARS[-(-bar.rows * top // most)] for bar in bars)


def dropped_line(kind: DroppedKind) -> str:
    """The number of rows with one fault, and the lines of the first of them."""
    lines = ", ".join(f"{line:,}" for line in kind.first_lines)
    more = ", …" if kind.rows > len(kind.first_lines) else ""
    word = "line" if kind.rows == 1 else "lines"
    rows = "row" if kind.rows == 1 else "rows"
    return f"left out {kind.rows:,} {rows}, {kind.fault}: {word} {lines}{more} ({kind.example})"
