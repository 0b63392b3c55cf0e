"""What a job may be, and how it may end."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.support import multi_lora, tiny
from tsplanner.training.job import FAILURES, Job, Status


def test_a_lack_of_memory_or_time_is_no_failure() -> None:
    """Other settings may mend these; a failure would come again."""
    expected = {Status.CRASHED, Status.DIVERGED, Status.KILLED, Status.PEER_LOST}
    assert expected | {Status.CANNOT_SHARE, Status.HUNG, Status.NOT_WRITABLE} == FAILURES
    assert [one for one in Status if one.is_failure] == [one for one in Status if one in FAILURES]


def test_what_came_from_outside_says_nothing_of_the_settings() -> None:
    """A crash, a loss that is no number and a lack of memory are the settings' own."""
    own = {Status.CRASHED, Status.DIVERGED, Status.CANNOT_SHARE, Status.TIMEOUT, Status.OK}
    memory = {Status.DEVICE_OOM, Status.HOST_OOM}
    assert {one for one in Status if not one.is_from_outside} == own | memory


def test_a_job_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    """With the trials that share its base."""
    plan = tiny.plan(tmp_path)
    job = multi_lora.shared_job(plan, tmp_path, multi_lora.trials(plan), open=True)
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
