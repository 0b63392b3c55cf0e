"""Several processes on one study: nothing taken twice, nothing lost when one of them is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.study_worker import ended, opened
from tests.support.verb import run_folder
from tsplanner.errors import TsplannerError
from tsplanner.tune.study.heartbeat import (
    KEY,
    Worker,
    WorkerRegistry,
    host_identity,
    started_at,
    this_process,
)
from tsplanner.tune.study.study import Study

SCRIPT = Path(__file__).parents[1] / "support" / "study_worker.py"
PATHS = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]


@contextmanager
def worker(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A worker process that is ready to begin; it begins at a line on its stdin."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
    )
    try:
        assert said(process).startswith("ready")
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line that a worker prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def begin(process: subprocess.Popen[str]) -> None:
    """Let a worker take trials."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def numbers(process: subprocess.Popen[str]) -> list[int]:
    """Every trial that a worker took, once it has ended."""
    return [int(line) for line in process.communicate(timeout=120)[0].split()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder beside the tiny plan's data."""
    return run_folder(tmp_path)


def states(study: Study) -> list[str]:
    """Optuna's state of every trial, by number."""
    return [trial.state.name for trial in study.queue.trials()]


@pytest.mark.slow
def test_two_workers_share_the_trials_and_repeat_none(folder: Path) -> None:
    """Of 12 trials each is run once, whoever takes it, and no two try the same rate and rank."""
    with worker(folder, "lead", "12") as one, worker(folder, "join") as other:
        begin(one)
        begin(other)
        taken = [*numbers(one), *numbers(other)]
    assert sorted(taken) == list(range(12))
    found = opened(folder).results()
    assert (
        len(
            {
                (one.learning.method.lora_rank, one.learning.optimization.learning_rate)
                for one in found
            }
        )
        == 12
    )


@pytest.mark.slow
def test_killed_workers_trial_is_queued_again_once(folder: Path) -> None:
    """The baseline was in flight with a worker that was killed: the others run it, one of them."""
    with (
        worker(folder, "lead", "6") as one,
        worker(folder, "join") as other,
        worker(folder, "hang") as lost,
    ):
        begin(lost)
        assert said(lost) == "0"
        lost.kill()
        lost.wait()
        begin(one)
        begin(other)
        taken = [*numbers(one), *numbers(other)]
    study = opened(folder)
    assert sorted(taken) == [1, 2, 3, 4, 5, 6]
    assert states(study) == ["FAIL", *["COMPLETE"] * 6]
    baseline = study.encoding.baseline
    assert sum(one.learning == baseline for one in study.results()) == 1


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


def test_trial_of_a_worker_killed_before_it_could_tell_is_not_repeated(folder: Path) -> None:
    """Its outcome lies in its folder and is told by whoever comes next."""
    study = opened(folder)
    proposal = study.ask()
    study.queue.finish = lambda *_: None  # type: ignore[method-assign]
    study.tell(proposal, ended(proposal.number, proposal.learning))
    assert states(study) == ["RUNNING"]
    after = opened(folder)
    assert after.workers.lead() == 0
    assert states(after) == ["COMPLETE"]
    assert after.results() == [ended(0, proposal.learning)]


def test_copy_in_the_queue_is_not_made_again_after_a_kill_between_two_steps(folder: Path) -> None:
    """A worker died between queueing the copy and failing the original: still one copy."""
    study = opened(folder)
    lost = study.ask()
    study.access.study.enqueue_trial(study.parameters(lost.learning), user_attrs={"retry of": 0})
    opened(folder).workers.lead()
    assert states(study) == ["FAIL", "WAITING"]


def test_result_of_a_worker_that_was_taken_for_dead_is_left_out(folder: Path) -> None:
    """A machine that slept wakes up and tells: its trial runs elsewhere by then."""
    slept = opened(folder)
    proposal = slept.ask()
    opened(folder).workers.lead()
    slept.report(proposal, 1.5, 3)
    slept.tell(proposal, ended(0, proposal.learning))
    assert states(slept) == ["FAIL", "WAITING"]
    assert slept.results() == []


def test_trial_whose_own_process_was_killed_is_given_back_once(folder: Path) -> None:
    """An accident is no result; the second one is."""
    study = opened(folder)
    first = study.ask()
    assert study.release(first)
    second = study.ask()
    assert second.learning == first.learning
    assert not study.release(second)
    assert states(study) == ["FAIL", "RUNNING"]


def test_trial_of_the_confirmation_goes_back_with_its_seed(folder: Path) -> None:
    """A fresh seed belongs to the trial, whoever runs it; and it is asked for once."""
    study = opened(folder)
    study.workers.want(0)
    wanted = [(study.encoding.baseline, 43)]
    study.enqueue(wanted)
    study.enqueue(wanted)
    lost = study.claim()
    assert lost is not None
    after = opened(folder)
    after.workers.lead()
    again = after.claim()
    assert again is not None
    assert (again.number, again.seed, again.learning) == (1, 43, lost.learning)
    assert after.claim() is None


def test_resumed_search_keeps_its_number_of_trials(folder: Path) -> None:
    """The number is the search's own; naming another one changes it for good."""
    assert opened(folder).workers.total(6, given=False) == 6
    assert opened(folder).workers.total(8, given=False) == 6
    assert opened(folder).workers.total(12, given=True) == 12
    assert opened(folder).workers.total(8, given=False) == 12


def registry(shared: dict[str, Any], **changes: Any) -> WorkerRegistry:
    """A worker that only looks at attributes in memory."""
    return WorkerRegistry(lambda: shared, shared.__setitem__, **changes)


def test_worker_of_this_host_is_gone_with_its_process() -> None:
    """A process id alone is not enough: its number may be another process's by now."""
    me = this_process()
    shared = {
        f"{KEY}{one.name}": asdict(one)
        for one in (
            replace(me, name="alive"),
            replace(me, name="earlier", started="1"),
            replace(me, name="left", left=True),
        )
    }
    looks = registry(shared)
    assert [looks.is_gone(name) for name in ("alive", "earlier", "left", "never")] == [
        False,
        True,
        True,
        True,
    ]


def test_child_that_nobody_reaped_counts_as_gone() -> None:
    """A killed worker may stay in the table of processes for long."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert started_at(child.pid) is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert started_at(child.pid) is None
    child.wait()


def test_silent_worker_of_another_host_is_gone_after_the_limit() -> None:
    """Only a beat that does not change for so long says so, by the observer's own clock."""
    far = Worker(name="far:7", host="elsewhere", pid=7, started="1", heartbeat=3)
    shared = {f"{KEY}far:7": asdict(far)}
    looks = registry(shared, gone_seconds=0.0)
    assert not looks.is_gone("far:7")
    assert looks.is_gone("far:7")
    shared[f"{KEY}far:7"] = asdict(replace(far, heartbeat=4))
    assert not looks.is_gone("far:7")
    looks.forget_heartbeats()
    assert not looks.is_gone("far:7")


def test_worker_of_the_version_before_is_known() -> None:
    """It called the heartbeat by another name."""
    stored = asdict(Worker(name="far:7", host="elsewhere", pid=7, started="1", heartbeat=3))
    stored["beat"] = stored.pop("heartbeat")
    looks = registry({f"{KEY}far:7": stored})
    assert looks.workers()["far:7"].heartbeat == 3


def test_two_hosts_of_one_name_and_number_are_told_apart() -> None:
    """Containers often share both; the second worker gets a name of its own."""
    me = this_process()
    shared = {f"{KEY}{me.name}": asdict(replace(me, host="the other container"))}
    enters = registry(shared)
    enters.enter()
    assert enters.me.name == f"{me.name}#2"
    assert shared[f"{KEY}{me.name}#2"]["host"] == host_identity()
    enters.leave()
