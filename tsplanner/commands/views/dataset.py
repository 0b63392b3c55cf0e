"""A dataset on the screen: the lengths of its rows, and the rows that were left out."""

from __future__ import annotations

from collections.abc import Iterator

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
    lines += [(words, "dim") for words in remark_lines(dataset.lengths.content.remarks)]
    lines += [(noted_line(each), "yellow") for each in noted(dataset.lengths.content.remarks)]
    lines += [(dropped_line(kind), "yellow") for kind in dataset.lengths.dropped]
    if dataset.dropped_file is not None:
        what = "rows left out" if dataset.lengths.dropped else "such rows"
        lines.append((f"all {what} are listed in {dataset.dropped_file}", "dim"))
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
    text = dataset.lengths.mean_text
    if text and dataset.lengths.content.learned is not None:
        words += f" · {100 * dataset.lengths.content.learned / text:.0f} % carry loss"
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
        # What holds for all rows of a model counts none.
        where = f" ({counted(each.rows, 'row')}, the first at line {each.first_line:,})"
        lines.append(f"guessed: {each.text}{where}" if each.rows else each.text)
    return lines


NOTED = {
    Noticed.CUT: "cut {rows} at cutoff_len (--cutoff-len {text} keeps all of them whole)",
    Noticed.DUPLICATE: "{rows} the same as an earlier one",
    Noticed.BARE: "{rows} with an answer that has neither a letter nor a digit",
    Noticed.SPECIAL: "{rows} with special tokens of the tokenizer inside a turn",
    Noticed.UNWRITTEN: "the model's template does not write {text} of {rows}",
}
"""What is said of rows that are trained on, but maybe not as a person means it."""


def noted(remarks: tuple[Remark, ...]) -> Iterator[Remark]:
    """The remarks that a person may want to act on."""
    return (each for each in remarks if each.kind in NOTED)


def noted_line(remark: Remark) -> str:
    """The number of rows with one remark, and the line of the first of them."""
    words = NOTED[Noticed(remark.kind)].format(rows=counted(remark.rows, "row"), text=remark.text)
    first = "line" if remark.rows == 1 else "the first at line"
    return f"{words}: {first} {remark.first_line:,}"


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
