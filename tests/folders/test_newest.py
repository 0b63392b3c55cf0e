"""What was written last is the newest, whatever the clock said."""

from __future__ import annotations

import os
from pathlib import Path

from tsplanner.folders.newest import STEP_NS, changed_ns, make_newest, newest_of, time_after


def test_a_clock_that_was_set_back_changes_no_order(tmp_path: Path) -> None:
    """The first file is from the year 2040: the second one, written today, is newer still."""
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.write_text("")
    os.utime(first, (2_208_988_800, 2_208_988_800))
    assert newest_of([first, second]) == [first, second]
    assert make_newest(second, [first, second]) == 2_208_988_800 * 10**9 + STEP_NS
    assert newest_of([first, second]) == [second, first]


def test_the_time_of_a_clock_that_runs_well_stays(tmp_path: Path) -> None:
    """Its own time is later already; a file that is gone has none."""
    first, second = tmp_path / "first", tmp_path / "second"
    for seconds, path in ((10, first), (20, second)):
        path.write_text("")
        os.utime(path, (seconds, seconds))
    assert time_after(second, [first]) == make_newest(second, [first]) == 20 * 10**9
    assert changed_ns(tmp_path / "gone") == 0
