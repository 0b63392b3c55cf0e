"""What is made of a worker that left no record."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner import runs
from tsplanner.probe.missing_record import (
    disk_is_full,
    ended_badly,
    log_tail,
    missing_record,
    oom_kills,
    was_out_of_memory,
)
from tsplanner.probe.process_records import read_record
from tsplanner.processes import ProcessResult
from tsplanner.training.job import Job, JobKind, Status


def test_only_the_kernels_counter_or_full_memory_make_a_kill_an_out_of_memory() -> None:
    """SIGKILL alone says nothing."""
    assert was_out_of_memory(None, used_share=0.99)
    assert not was_out_of_memory(None, used_share=0.5)


def test_kernel_counter_is_read_from_either_cgroup_version(tmp_path: Path) -> None:
    """Both files hold a line oom_kill N."""
    two = tmp_path / "memory.events"
    two.write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kills((tmp_path / "absent", two)) == 2
    assert oom_kills((tmp_path / "absent",)) is None


def test_a_disk_without_room_for_a_record_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 KiB are enough for a record; a folder that is gone says nothing."""
    assert not disk_is_full(tmp_path)
    monkeypatch.setattr(runs, "free_disk_bytes", lambda _: 65_535)
    assert disk_is_full(tmp_path)


def test_a_bad_end_is_kept_where_the_disk_allows(tmp_path: Path) -> None:
    """The record comes back in any case."""
    job = Job(kind=JobKind.TRIAL, plan=tiny.plan(tmp_path), folder=str(tmp_path))
    record = ended_badly(job, Status.HUNG, "no sign")
    assert read_record(tmp_path) == record
    gone = Job(kind=JobKind.TRIAL, plan=job.plan, folder=str(tmp_path / "gone"))
    assert ended_badly(gone, Status.HUNG, "no sign") == record


def test_a_page_without_anything_behind_it_is_told_in_words(tmp_path: Path) -> None:
    """SIGBUS: the weights' file has become shorter, or a container gives no page."""
    job = Job(kind=JobKind.TRIAL, plan=tiny.plan(tmp_path), folder=str(tmp_path))
    ended = ProcessResult(
        exit_status=None, timed_out=False, stopped_by_signal=signal.SIGBUS, seconds=1.0
    )
    record = missing_record(job, ended, None)
    assert record.status is Status.CRASHED
    assert f"a file of {job.plan.model.path} became shorter while it was read" in record.message


def test_log_tail_is_the_last_lines_that_say_something(tmp_path: Path) -> None:
    """Blank lines and rulers are passed over, and what comes from the launcher on."""
    path = tmp_path / "worker.log"
    path.write_text("one\n\ntwo\nthree\n\nfour\n\n")
    assert log_tail(path) == ["two", "three", "four"]
    path.write_text("one\nValueError: no\nE1 elastic: failed\nTraceback\n=====\n")
    assert log_tail(path, 1) == ["Traceback"]
    assert log_tail(path, 1, until="elastic") == ["ValueError: no"]
    assert log_tail(tmp_path / "absent") == []
