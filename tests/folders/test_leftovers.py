"""Temporary files of killed processes go; those of living ones and of other people stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tsplanner import runs
from tsplanner.folders.leftovers import is_left, remove_leftovers, temporary_name

KILLED = """
import os, pathlib, signal, sys
from tsplanner import runs
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
runs.write_text(pathlib.Path(sys.argv[1]) / "trials" / "0" / "eval_rows.json", "half")
"""


def test_what_a_killed_process_left_goes_with_the_next_start(tmp_path: Path) -> None:
    """A real process is killed between its write and its rename."""
    folder = tmp_path / "trials" / "0"
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = folder.iterdir()
    assert left.name.startswith(".eval_rows.json.")
    assert remove_leftovers(tmp_path) == []
    assert remove_leftovers(tmp_path, depth=2) == [left]
    assert list(folder.iterdir()) == []


def test_names_of_living_processes_other_hosts_and_other_people_stay() -> None:
    """A number that the system cannot give (its largest is 4,194,304) is of no living process."""
    mine = temporary_name(Path("plan.json")).name
    host = mine.rpartition(".")[2]
    assert not is_left(mine)
    assert is_left(f".plan.json.5000000-5000000.{host}")
    assert is_left(".plan.json.5000000-5000000")
    assert not is_left(f".plan.json.5000000-5000000.{'0' * 8}")
    assert not is_left(f".plan.json.{os.getpid()}-1")
    for name in ("plan.json", ".notes.2024-11", ".plan.json.new", ".adapter.old"):
        assert not is_left(name), name


def test_a_write_leaves_no_name_of_its_own(tmp_path: Path) -> None:
    """The temporary name is beside the file and gone after the rename."""
    runs.write_text(tmp_path / "a.txt", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert temporary_name(tmp_path / "a.txt").parent == tmp_path
