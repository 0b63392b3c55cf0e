"""What was noticed in rows is counted, over spans and files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tsplanner.datasets.records import Noticed, Remark
from tsplanner.datasets.rows.remarks import MOST_TEXTS, OTHERS, Remarks


def test_remarks_are_sorted_by_kind_and_number() -> None:
    """With the first line of each."""
    remarks = Remarks()
    for line, text in ((3, "id"), (4, "url"), (9, "url")):
        remarks.note(Noticed.IGNORED, text, line)
    remarks.note(Noticed.FORM, "alpaca", 5, file=2)
    assert remarks.records() == (
        Remark(kind="form", text="alpaca", rows=1, first_line=5, file=2),
        Remark(kind="not read", text="url", rows=2, first_line=4),
        Remark(kind="not read", text="id", rows=1, first_line=3),
    )


NOTES = st.lists(st.tuples(st.sampled_from(Noticed), st.sampled_from("ab")), max_size=8)


@given(first=NOTES, second=NOTES)
def test_two_spans_add_up_to_the_whole(
    first: list[tuple[Noticed, str]], second: list[tuple[Noticed, str]]
) -> None:
    """Lines of the second span are counted from its own first line."""
    whole, one, two = Remarks(), Remarks(), Remarks()
    for line, (kind, text) in enumerate(first + second, start=1):
        whole.note(kind, text, line)
    for part, notes in ((one, first), (two, second)):
        for line, (kind, text) in enumerate(notes, start=1):
            part.note(kind, text, line)
    one.add(two, lines_before=len(first))
    assert set(one.records()) == set(whole.records())


def test_names_that_differ_in_every_row_do_not_grow_without_end() -> None:
    """Ids that are names of fields are counted as others, within a span and over spans."""
    total, lines = Remarks(), MOST_TEXTS + 10
    for part in range(2):
        remarks = Remarks()
        for line in range(1, lines + 1):
            remarks.note(Noticed.IGNORED, f"id {part} {line}", line)
        assert len(remarks.records()) == MOST_TEXTS + 1
        total.add(remarks, lines_before=part * lines)
    found = {each.text: each for each in total.records()}
    assert len(found) == MOST_TEXTS + 1
    assert (found[OTHERS].rows, found[OTHERS].first_line) == (10 + lines, MOST_TEXTS + 1)
