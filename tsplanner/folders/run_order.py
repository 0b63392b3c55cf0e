"""Which of several run folders was begun or resumed last, and which of them is free."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tsplanner.folders.newest import changed_ns
from tsplanner.folders.owner import OWNER_FILE, leader_of, read_owner


def newest_folders(folders: Iterable[Path]) -> list[Path]:
    """Run folders from the one that was begun or resumed last to the oldest.

    Folders of earlier versions have no owner; they go by the time of their job or search.
    """
    marks = (OWNER_FILE, "job.json", "study.journal", "study.json")
    found = []
    for folder in folders:
        owner = read_owner(folder)
        mark = next((folder / name for name in marks if (folder / name).exists()), folder)
        began = owner.began_ns if owner else 0
        found.append((began or changed_ns(mark), str(mark), folder))
    return [folder for *_, folder in sorted(found, reverse=True)]


def newest_idle(folders: Iterable[Path]) -> Path | None:
    """The newest folder that nobody writes into now; None if there is no folder.

    Where all are written into that is the newest of them, whose refusal says by whom.
    """
    ordered = newest_folders(folders)
    idle = (folder for folder in ordered if leader_of(folder) is None)
    return next(idle, ordered[0] if ordered else None)
