"""Trials of a job, then those that files bring."""

from __future__ import annotations

from pathlib import Path

from tests.support import multi_lora, tiny
from tsplanner.training.job import Job, JobKind, MultiLoraTrial
from tsplanner.training.multi_lora.queue import Queue, close, offer


def folders(queue: Queue) -> list[str]:
    """Names of the trials that the queue hands out now."""
    found = []
    while (trial := queue.next()) is not None:
        found.append(Path(trial.folder).name)
    return found


def test_a_closed_queue_ends_with_the_trials_of_its_job(tmp_path: Path) -> None:
    """In their order, each once."""
    plan = tiny.plan(tmp_path)
    queue = Queue(multi_lora.shared_job(plan, tmp_path / "run", multi_lora.trials(plan)))
    assert not queue.ended
    assert folders(queue) == ["0", "1", "2"]
    assert queue.ended


def test_an_open_queue_takes_trials_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """It ends once it was closed and nothing waits; what came before the end is handed out."""
    plan = tiny.plan(tmp_path)
    queue = Queue(multi_lora.shared_job(plan, tmp_path / "run", [], open=True))
    assert (queue.next(), queue.ended) == (None, False)
    for number in (10, 9):
        trial = MultiLoraTrial(learning=plan.learning, folder=str(tmp_path / str(number)))
        offer(tmp_path / "run", number, trial)
    assert folders(queue) == ["9", "10"]
    offer(tmp_path / "run", 11, MultiLoraTrial(learning=plan.learning, folder="11"))
    close(tmp_path / "run")
    assert not queue.ended
    assert folders(queue) == ["11"]
    assert queue.ended


def test_a_job_of_one_run_has_no_trials(tmp_path: Path) -> None:
    """Its learning settings are the plan's."""
    job = Job(kind=JobKind.TRAIN, plan=tiny.plan(tmp_path), folder=str(tmp_path))
    assert Queue(job).ended
