"""A progress bar for a dataset that takes a while to read."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from tsplanner.commands.views.scan_bar import ScanBar, scan_bar

GB = 1_000_000_000


def clock(*times: float) -> Iterator[float]:
    """The moments at which the bar looks at the clock, the first at its making."""
    return iter(times)


def test_a_short_read_draws_nothing() -> None:
    """Most datasets are read within a second, and a flash of a bar says nothing."""
    stream, times = io.StringIO(), clock(0.0, 0.3, 0.9)
    with ScanBar(stream, lambda: next(times)) as bar:
        bar(1, 2, 10)
        bar(2, 2, 20)
    assert stream.getvalue() == ""


def test_a_long_read_says_how_far_it_is_and_how_fast() -> None:
    """After 2 s half of 1 GB has been read: 250 MB per second."""
    stream, times = io.StringIO(), clock(0.0, 2.0)
    with ScanBar(stream, lambda: next(times)) as bar:
        bar(GB // 2, GB, 12_345)
        said = stream.getvalue()
    assert "500 of 1,000 MB  250 MB/s  12,345 rows" in said


def test_a_bar_is_not_redrawn_for_every_row() -> None:
    """Within a tenth of a second the first drawing stays."""
    stream, times = io.StringIO(), clock(0.0, 2.0, 2.05, 2.2)
    with ScanBar(stream, lambda: next(times)) as bar:
        bar(1, GB, 1)
        bar(2, GB, 2_222)
        assert "2,222 rows" not in stream.getvalue()
        bar(3, GB, 3_333)
        assert "3,333 rows" in stream.getvalue()


def test_nothing_is_drawn_where_nobody_looks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe and --json have no bar; a terminal has one that counts time."""
    for shown in (True, False):
        with scan_bar(shown=shown) as bar:
            bar._began -= 60  # a read that takes long
            bar(1, 2, 3)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert type(scan_bar(shown=True)) is ScanBar
