"""What a listener hears of a search, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.searching import Worker, by_rank, search
from tsplanner.errors import TsplannerError
from tsplanner.planner.settings import LearningSettings
from tsplanner.training.job import Status
from tsplanner.tune.runner.events import SearchListener
from tsplanner.tune.study.trial_result import Result


class Diary:
    """Writes down every event."""

    def __init__(self) -> None:
        self.entries: list[tuple[object, ...]] = []

    def started(self, number: int, learning: LearningSettings) -> None:
        """A trial has begun."""
        self.entries.append(("started", number))

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """A share of a trial is done."""
        self.entries.append(("progressed", number, round(progress, 3), eval_loss))

    def ended(self, result: Result) -> None:
        """A trial has ended."""
        self.entries.append(("ended", result.number, str(result.state)))

    def released(self, number: int, message: str) -> None:
        """A trial waits to be run again."""
        self.entries.append(("released", number, message))


def heard(folder: Path, worker: Worker, trials: int) -> list[tuple[object, ...]]:
    """What a second listener hears, beside the first."""
    built, _, _ = search(folder / "run", tiny.plan(folder), worker)
    diary: SearchListener = Diary()
    built.monitor.listeners.append(diary)
    try:
        built.run(trials)
    finally:
        assert isinstance(diary, Diary)
        entries = diary.entries
    return entries


def test_a_trial_starts_progresses_and_ends(tmp_path: Path) -> None:
    """Six evaluations are six steps of progress, the last of them the whole trial."""
    entries = heard(tmp_path, Worker(lambda _: 1.0), 2)
    assert entries[:8] == [
        ("started", 0),
        ("progressed", 0, 0.167, 6.0),
        ("progressed", 0, 0.333, 5.0),
        ("progressed", 0, 0.5, 4.0),
        ("progressed", 0, 0.667, 3.0),
        ("progressed", 0, 0.833, 2.0),
        ("progressed", 0, 1.0, 1.0),
        ("ended", 0, "completed"),
    ]
    assert entries[8] == ("started", 1)
    assert entries[-1] == ("ended", 1, "completed")


def test_an_accident_is_heard_as_a_release_and_not_as_an_end(tmp_path: Path) -> None:
    """The baseline is killed twice: its copy starts under another number, and waits at last."""
    built, _, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank, Status.KILLED))
    diary = Diary()
    built.monitor.listeners.append(diary)
    with pytest.raises(TsplannerError, match=r"Trial 1 was ended from outside \(boom\)"):
        built.run(1)
    assert diary.entries == [
        ("started", 0),
        ("released", 0, "boom"),
        ("started", 1),
        ("released", 1, "boom"),
    ]
