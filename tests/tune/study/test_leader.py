"""Which worker leads a study, and how many trials the workers run together."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.study_processes import begin, said, worker
from tests.support.study_worker import ended, opened
from tsplanner.errors import TsplannerError


def test_leader_that_was_killed_is_followed_by_one_that_resumes(folder: Path) -> None:
    """While the first one lives a second leader is refused; killed, it takes over."""
    with worker(folder, "lead", "4") as first:
        with pytest.raises(TsplannerError, match=f":{first.pid} leads the search .* --join"):
            opened(folder).workers.lead()
        first.kill()
        first.wait()
        study = opened(folder)
        assert study.workers.leader is None
        study.workers.lead()
        assert study.workers.leader == f"{study.workers.name}"


def test_resumed_search_keeps_its_number_of_trials(folder: Path) -> None:
    """The number is the search's own; naming another one changes it for good."""
    assert opened(folder).workers.total(6, given=False) == 6
    assert opened(folder).workers.total(8, given=False) == 6
    assert opened(folder).workers.total(12, given=True) == 12
    assert opened(folder).workers.total(8, given=False) == 12


def test_a_study_is_led_by_the_process_that_said_so_last(folder: Path) -> None:
    """Nobody leads a new study; leaving it in good order leaves it without a leader."""
    study = opened(folder)
    assert study.workers.leader is None
    assert study.workers.lead() == 0
    assert study.workers.leader == study.workers.name
    study.workers.leave()
    assert opened(folder).workers.leader is None


def test_leading_queues_again_what_was_lost(folder: Path) -> None:
    """Two trials were in flight with a worker that is gone: both are counted."""
    lost = opened(folder)
    lost.ask()
    lost.ask()
    assert opened(folder).workers.lead() == 2


def test_wanted_trials_are_counted_from_those_that_ended(folder: Path) -> None:
    """One has ended and two more are wanted: three in all; a fresh seed does not count."""
    study = opened(folder)
    study.workers.want(2)
    assert study.workers.wanted == 2
    first = study.ask()
    study.tell(first, ended(first.number, first.learning))
    study.enqueue([(study.encoding.baseline, 43)])
    again = study.ask()
    study.tell(again, ended(again.number, again.learning, again.seed))
    study.workers.want(2)
    assert study.workers.wanted == 3
    assert study.workers.trials_run_here() == [0, 1]


def test_wanted_trials_may_follow_from_the_started_ones(folder: Path) -> None:
    """A budget renews the number while trials run."""
    study = opened(folder)
    study.ask()
    study.workers.update_wanted(lambda started: started + 4)
    assert study.workers.wanted == 5


def test_a_search_is_over_once_its_leader_has_decided(folder: Path) -> None:
    """A new leader wants trials again."""
    study = opened(folder)
    assert not study.workers.is_over
    study.workers.finish()
    assert opened(folder).workers.is_over
    study.workers.lead()
    assert not study.workers.is_over


def test_a_helper_that_stands_still_is_named_and_ended_and_its_trial_runs_again(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is stopped with trial 0 in flight; half a second of silence stands for a minute."""
    study = opened(folder)
    study.workers.lead()
    study.workers.want(1)
    with worker(folder, "hang") as helper:
        begin(helper)
        assert said(helper) == "0"
        assert study.claim() is None
        study.queue.registry.gone_seconds = 0.5
        helper.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 30
        while (again := study.claim()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert again is not None
        assert again.number == 1
        assert helper.wait(timeout=10) == -signal.SIGKILL
        sentence = f":{helper.pid} gave no sign of life for 0 s and was ended; its trial 0 waits"
        assert sentence in capfd.readouterr().err
    study.workers.leave()


def test_a_stopped_helper_is_ended_when_the_search_is_over(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody waits for it, but it could never read that it may leave; one that works is let be."""
    study = opened(folder)
    study.workers.lead()
    study.workers.want(2)
    with worker(folder, "hang") as still, worker(folder, "hang") as works:
        for helper in (still, works):
            begin(helper)
            said(helper)
        still.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, still.pid, os.WSTOPPED | os.WNOWAIT)
        study.workers.finish()
        assert still.wait(timeout=10) == -signal.SIGKILL
        assert works.poll() is None
        words = f":{still.pid} was stopped by a signal and was ended: the search is over."
        assert words in capfd.readouterr().err
    study.workers.leave()


def test_only_the_leader_ends_anybody(folder: Path) -> None:
    """A helper runs the trial of one that stands still, and leaves its process alone."""
    study = opened(folder)
    study.workers.lead()
    study.workers.want(1)
    with worker(folder, "hang") as still:
        begin(still)
        assert said(still) == "0"
        helper = opened(folder)
        helper.queue.registry.gone_seconds = 0.5
        still.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 30
        while (again := helper.claim()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert again is not None
        assert still.poll() is None
    study.workers.leave()
