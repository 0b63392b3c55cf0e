"""Which of several run folders was begun or resumed last, and which of them is free."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tsplanner.folders.newest import newest_of
from tsplanner.folders.owner import OWNER_FILE, leader_of


def newest_folders(folders: Iterable[Path]) -> list[Path]:
    """Run folders from the one that was begun or resumed last to the oldest.

    Folders of earlier versions have no owner; they go by the time of their job or search.
    """
    marks = (OWNER_FILE, "job.json", "study.journal", "study.json")
    found = {}
    for folder in folders:
        there = [folder / name for name in marks if (folder / name).exists()]
        found[there[0] if there else folder] = folder
    return [found[mark] for mark in newest_of(found)]


def newest_idle(folders: Iterable[Path]) -> Path | None:
    """The newest folder that nobody writes into now; None if there is no folder.

    Where all are written into that is the newest of them, whose refusal says by whom.
    """
    ordered = newest_folders(folders)
    idle = (folder for folder in ordered if leader_of(folder) is None)
    return next(idle, ordered[0] if ordered else None)
