"""The page of a run folder, or of all runs under a folder, as it is when it is asked for.

Only reads: the run writes its own records, and this page is the report over them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from memory_models.frozen import frozen
from tsplanner import __version__
from tsplanner.commands.page.build import asset
from tsplanner.report.build_page import About, build_page, live_page
from tsplanner.report.files import now
from tsplanner.report.messages.translate import Language
from tsplanner.report.page import Page
from tsplanner.report.records.progress import (
    State,
    is_run,
    open_runs,
    read_progress,
    run_so_far,
)
from tsplanner.report.records.read_runs import read_run, read_runs
from tsplanner.report.records.run_record import Found, RunSummary
from tsplanner.report.render.html import Live, html

MOVING_SECONDS, RESTING_SECONDS = 2.0, 10.0
"""Time between two looks of the page at something that is at work, and at something else."""
IDLE_SHARE = 9
"""Looks cost at most a tenth of the server's time: many runs are looked at less often."""


@frozen
class Look:
    """What was found at one look."""

    page: Page
    seconds: float
    """Until the next look is worth it."""


class LivePage:
    """Renders the page of a folder; looks at the folder no more often than it has time for."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: Look | None = None
        self._until = 0.0

    def __call__(self, query: dict[str, str]) -> str:
        """The page in the language that the query names, else in English."""
        language = Language.ZH if query.get("language") == Language.ZH else Language.EN
        look = self._look()
        other = Language.EN if language is Language.ZH else Language.ZH
        live = Live(script=asset("live.js"), seconds=look.seconds)
        link = "?" + urlencode({"token": query.get("token", ""), "language": other})
        return html(look.page, language, link, live)

    def _look(self) -> Look:
        with self._lock:
            began = self._clock()
            if self._kept is None or began >= self._until:
                self._kept = looked_at(self.folder)
                ended = self._clock()
                self._until = ended + IDLE_SHARE * (ended - began)
            return self._kept


def looked_at(folder: Path) -> Look:
    """The page of a run folder, or of a folder of runs. Raises TsplannerError, OSError."""
    if is_run(folder) or not folder.is_dir() or not any(folder.iterdir()):
        return _of_run(folder)
    opened, found = open_runs(folder), read_runs(folder)
    page = live_page(opened, build_page(found.runs, _about(folder, found)), folder)
    return Look(page=page, seconds=_seconds([each.state for each in opened]))


def _of_run(folder: Path) -> Look:
    found = read_progress(folder, folder.parent)
    run = run_so_far(found) if found.is_open else read_run(folder, folder.parent)
    shown = (run,) if isinstance(run, RunSummary) else ()
    about = _about(folder.parent, Found(runs=shown))
    page = live_page([found], build_page(shown, about), folder)
    return Look(page=page, seconds=_seconds([found.state]))


def _about(saves: Path, found: Found) -> About:
    return About(saves=saves, when=now(), version=__version__, left_out=found.left_out)


def _seconds(states: list[State]) -> float:
    moving = {State.AT_WORK, State.UNKNOWN, State.NOT_BEGUN} & set(states)
    return MOVING_SECONDS if moving else RESTING_SECONDS
