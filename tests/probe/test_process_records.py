"""One record for a run of several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from memory_models.settings import changed, from_flat
from tsplanner.probe.process_records import merged_record, missing_processes, remove_records
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import MeasuredMemory, ProcessMemory, Record, record_file

OK = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.PROBE,
    peak_allocated_bytes=70,
    peak_reserved_bytes=80,
    process_bytes=90,
    host_bytes=1000,
    pinned_bytes=5,
)


def leave(folder: Path, rank: int, record: Record) -> None:
    """Write a rank's record as that rank does."""
    path = record_file(folder, rank)
    path.write_bytes(msgspec.json.encode(replace(record, process=rank)))


def merged(folder: Path, *records: Record | None) -> Record | None:
    """What becomes of these ranks' records; None: that rank left none."""
    for rank, record in enumerate(records):
        if record is not None:
            leave(folder, rank, record)
    return merged_record(folder, len(records))


def ended(status: Status, message: str = "") -> Record:
    """A rank that ended so."""
    return Record(status=status, kind=JobKind.PROBE, message=message)


def test_merged_record_has_the_highest_peaks_and_the_sum_of_host_bytes(tmp_path: Path) -> None:
    """GPUs are filled one by one, the host's memory by all ranks together."""
    other = changed(OK, peak_allocated_bytes=75, process_bytes=85, host_bytes=1200, pinned_bytes=7)
    found = merged(tmp_path, OK, other)
    assert found is not None
    assert found.status is Status.OK
    assert found.message == ""
    assert (found.memory.peak_allocated_bytes, found.memory.peak_reserved_bytes) == (75, 80)
    memory = found.memory
    assert (memory.process_bytes, memory.host_bytes, memory.pinned_bytes) == (90, 2200, 12)
    assert found.processes[1] == ProcessMemory(
        process=1,
        memory=MeasuredMemory(
            peak_allocated_bytes=75,
            peak_reserved_bytes=80,
            process_bytes=85,
            host_bytes=1200,
            pinned_bytes=7,
        ),
    )


def test_merged_record_passes_over_what_a_rank_does_not_know(tmp_path: Path) -> None:
    """One rank's known bytes are better than none; nobody's stay unknown."""
    silent = changed(OK, process_bytes=None, host_bytes=None, pinned_bytes=None)
    found = merged(tmp_path, changed(OK, pinned_bytes=None), silent)
    assert found is not None
    memory = found.memory
    assert (memory.process_bytes, memory.host_bytes, memory.pinned_bytes) == (90, 1000, None)


WORST = [
    ((Status.OK, Status.STOPPED), Status.STOPPED),
    ((Status.STOPPED, Status.CRASHED), Status.CRASHED),
    ((Status.CRASHED, Status.DEVICE_OOM), Status.DEVICE_OOM),
    ((Status.HOST_OOM, Status.CRASHED), Status.HOST_OOM),
    ((Status.PEER_LOST, Status.CRASHED), Status.CRASHED),
    ((Status.PEER_LOST, Status.DIVERGED), Status.DIVERGED),
    ((Status.STOPPED, Status.PEER_LOST), Status.PEER_LOST),
    ((Status.OK, Status.OK), Status.OK),
]


@pytest.mark.parametrize(("statuses", "expected"), WORST)
def test_worst_end_of_all_ranks_is_the_run_s(
    tmp_path: Path, statuses: tuple[Status, Status], expected: Status
) -> None:
    """A run went well only if all its ranks did."""
    found = merged(tmp_path, *(ended(status) for status in statuses))
    assert found is not None
    assert found.status is expected


def test_cause_is_named_with_its_rank_and_not_what_followed_of_it(tmp_path: Path) -> None:
    """The rank that broke the connection is told of before the one that lost it."""
    lost = ended(
        Status.PEER_LOST, "lost the other processes: RuntimeError: Connection closed by peer"
    )
    found = merged(tmp_path, lost, ended(Status.CRASHED, "KeyError: 'x'"))
    assert found is not None
    assert (found.process, found.message) == (1, "process 1: KeyError: 'x'")


def test_rank_without_a_record_is_named_beside_the_cause(tmp_path: Path) -> None:
    """What a dead rank took with it is told along with the reason that another gave."""
    found = merged(tmp_path, None, ended(Status.DEVICE_OOM, "The GPU ran out of memory."))
    assert found is not None
    assert found.message == "process 1: The GPU ran out of memory. (process 0 left no record)"


@pytest.mark.parametrize(
    "record",
    [OK, ended(Status.STOPPED), ended(Status.PEER_LOST, "lost the other processes: it is gone")],
    ids=["ok", "stopped", "lost"],
)
def test_run_that_lost_a_rank_has_no_record_of_its_own(tmp_path: Path, record: Record) -> None:
    """Without the lost rank's word, how its process ended decides, not the others' records."""
    assert merged(tmp_path, record, None) is None
    assert missing_processes(tmp_path, 2) == [1]


def test_half_a_record_counts_as_none(tmp_path: Path) -> None:
    """A rank killed while it wrote is a rank without a record."""
    leave(tmp_path, 0, OK)
    record_file(tmp_path, 1).write_text('{"status": "ok", "kin')
    assert merged_record(tmp_path, 2) is None
    remove_records(tmp_path, 2)
    assert missing_processes(tmp_path, 2) == [0, 1]


def test_one_rank_s_record_is_the_run_s_as_it_is(tmp_path: Path) -> None:
    """A run of one process is not told as rank 0."""
    assert merged(tmp_path, ended(Status.CRASHED, "boom")) == ended(Status.CRASHED, "boom")


def test_peaks_of_a_run_are_those_of_the_process_that_its_plan_is_of(tmp_path: Path) -> None:
    """Unlike processes hold unlike bytes by intention; the host holds those of all of them."""
    other = changed(OK, peak_allocated_bytes=40, peak_reserved_bytes=50, process_bytes=60)
    for process, record in enumerate((OK, other)):
        leave(tmp_path, process, record)
    found = merged_record(tmp_path, 2, own=1)
    assert found is not None
    memory = found.memory
    assert (memory.peak_allocated_bytes, memory.peak_reserved_bytes) == (40, 50)
    assert (memory.process_bytes, memory.host_bytes) == (60, 2000)
    assert found.processes[0].memory.process_bytes == 90
