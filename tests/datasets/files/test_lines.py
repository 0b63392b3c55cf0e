"""JSON lines: read whole, in spans, and out of a gzip stream."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsplanner.datasets.files.lines import PackedLines, SpanRows
from tsplanner.datasets.files.records import RawRow


@given(
    lines=st.lists(st.sampled_from([b"", b" ", b"x", b"yy", b"zzz" * 9]), max_size=20),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    ended=st.booleans(),
)
@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_spans_give_every_line_once_and_in_order(tmp_path, lines, cuts, ended):
    """Wherever a file is cut, a line belongs to the span that it begins in."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n" * ended)
    size = path.stat().st_size
    ends = sorted({min(cut, size) for cut in cuts} | {size})

    found, line = [], 0
    for start, end in zip([0, *ends], ends, strict=False):
        span = SpanRows(path, start, end)
        found += [(line + row.line, row.data) for row in span]
        line += span.lines

    kept = [(number, data) for number, data in enumerate(lines, start=1) if data.strip()]
    assert [(number, data.rstrip(b"\n")) for number, data in found] == kept


@pytest.mark.parametrize("packed", [False, True])
def test_lines_lose_the_byte_order_mark_and_the_last_may_be_incomplete(
    tmp_path: Path, packed: bool
) -> None:
    """A line end shows that a line was written whole."""
    path, content = tmp_path / "rows.jsonl", b"\xef\xbb\xbf{}\n \n[]"
    path.write_bytes(gzip.compress(content) if packed else content)
    rows = PackedLines(path, file=2) if packed else SpanRows(path, 0, len(content), file=2)
    assert list(rows) == [RawRow(1, b"{}\n", file=2), RawRow(3, b"[]", complete=False, file=2)]
    assert rows.lines == 3
