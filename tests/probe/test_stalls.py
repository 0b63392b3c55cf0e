"""When a worker counts as hung: by what it took so far, and never for the parent's own pause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsplanner.probe.stalls import LONGEST_LOOK_SECONDS, StallWatch, WorkerHung
from tsplanner.training.pulse import Phase


class Worker:
    """Writes beats by hand, and moves the clock of the watch."""

    def __init__(self, folder: Path, step_seconds: float = 1.0) -> None:
        self.folder, self.now, self.count, self.halted = folder, 0.0, 0, False
        self.watch = StallWatch(
            folder, step_seconds, clock=lambda: self.now, stopped=lambda _: self.halted
        )

    def beat(self, phase: Phase) -> None:
        """The next beat, which the watch sees at once."""
        self.count += 1
        (self.folder / ".pulse.1").write_text(f"4711 {self.count} {phase}\n")
        self.watch.look()

    def wait(self, seconds: float, every: float = 1.0) -> None:
        """Let the watch look every second, or as seldom as it counts in full."""
        for _ in range(round(seconds / every)):
            self.now += every
            self.watch.look()


def test_before_the_first_beat_there_is_time_to_import(tmp_path: Path) -> None:
    """900 s, and no process is known yet."""
    worker = Worker(tmp_path)
    worker.wait(900)
    with pytest.raises(WorkerHung, match=r"its process.* no sign of life for 901 s"):
        worker.wait(1)


def test_loading_and_saving_take_as_long_as_the_disk_does(tmp_path: Path) -> None:
    """Neither has a beat in it; ten hours are no reason to end them."""
    worker = Worker(tmp_path)
    for phase in (Phase.LOAD, Phase.SAVE):
        worker.beat(phase)
        assert worker.watch.limit_seconds() is None
        worker.wait(36_000, every=LONGEST_LOOK_SECONDS)


@pytest.mark.parametrize(("longest", "limit"), [(2, 60.0), (6, 60.0), (7, 70.0), (30, 300.0)])
def test_the_limit_is_ten_times_the_longest_step_and_a_minute_at_least(
    tmp_path: Path, longest: int, limit: float
) -> None:
    """Steps of 7 s make it 70 s."""
    worker = Worker(tmp_path)
    worker.beat(Phase.STEP)
    assert worker.watch.limit_seconds() == 900.0
    worker.wait(longest)
    worker.beat(Phase.STEP)
    assert worker.watch.limit_seconds() == limit
    worker.wait(limit)
    with pytest.raises(WorkerHung, match=f"process 4711.* took {longest} s; it was ended"):
        worker.wait(1)


def test_what_was_predicted_counts_where_little_was_measured(tmp_path: Path) -> None:
    """Steps of 320 s: 3,200 s, although a micro-batch took 20."""
    worker = Worker(tmp_path, step_seconds=320.0)
    worker.beat(Phase.STEP)
    worker.wait(20)
    worker.beat(Phase.STEP)
    assert worker.watch.limit_seconds() == 3_200.0


def test_the_first_piece_of_each_kind_of_work_has_more_time(tmp_path: Path) -> None:
    """Steps are measured, evaluations are not yet."""
    worker = Worker(tmp_path)
    for phase in (Phase.STEP, Phase.STEP, Phase.EVALUATE):
        worker.beat(phase)
    assert worker.watch.limit_seconds() == 900.0
    worker.beat(Phase.EVALUATE)
    assert worker.watch.limit_seconds() == 60.0


def test_after_its_record_a_worker_has_a_minute_to_end(tmp_path: Path) -> None:
    """Nothing is left to do then."""
    worker = Worker(tmp_path)
    worker.beat(Phase.DONE)
    worker.wait(60)
    with pytest.raises(WorkerHung):
        worker.wait(1)


def test_a_stopped_process_is_hung_in_any_phase(tmp_path: Path) -> None:
    """SIGSTOP for a minute, while it loads; a shorter stop is forgotten."""
    worker = Worker(tmp_path)
    worker.beat(Phase.LOAD)
    worker.halted = True
    worker.wait(50)
    worker.halted = False
    worker.wait(1)
    worker.halted = True
    worker.wait(60)
    with pytest.raises(WorkerHung, match="was stopped by a signal and gave no sign"):
        worker.wait(1)


def test_a_parent_that_was_stopped_itself_saw_nothing(tmp_path: Path) -> None:
    """Ctrl-Z for a day counts as two seconds."""
    worker = Worker(tmp_path)
    worker.beat(Phase.STEP)
    worker.beat(Phase.STEP)
    worker.now += 86_400.0
    worker.watch.look()
    worker.wait(58)
    with pytest.raises(WorkerHung):
        worker.wait(1)


def test_the_file_goes_with_its_worker(tmp_path: Path) -> None:
    """A second time there is nothing to remove."""
    worker = Worker(tmp_path)
    worker.beat(Phase.LOAD)
    worker.watch.forget()
    worker.watch.forget()
    assert list(tmp_path.iterdir()) == []
