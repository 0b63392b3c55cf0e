"""One record for a run of several processes: the worst end, the highest peaks, all host bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from tsplanner.training.job import Status
from tsplanner.training.record import (
    MeasuredMemory,
    ProcessMemory,
    Record,
    most,
    parse_record,
    record_file,
)

WORST_FIRST = (
    Status.DEVICE_OOM,
    Status.HOST_OOM,
    Status.NOT_WRITABLE,
    Status.CRASHED,
    Status.CANNOT_SHARE,
    Status.HUNG,
    Status.KILLED,
    Status.DIVERGED,
    Status.PEER_LOST,
    Status.TIMEOUT,
    Status.STOPPED,
    Status.OK,
)
"""Statuses from the worst to the best; a cause comes before what follows from it."""


def read_record(folder: Path, process: int = 0) -> Record | None:
    """The record of one process; None if the process wrote none, or not a whole one."""
    try:
        return parse_record(record_file(folder, process).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None


def remove_records(folder: Path, world_size: int) -> None:
    """Remove the records that an earlier run left."""
    for process in range(world_size):
        record_file(folder, process).unlink(missing_ok=True)


def merged_record(folder: Path, world_size: int, own: int | None = None) -> Record | None:
    """The record of all processes; None if one process left none and no other one says why.

    ``own``: the process whose peaks are those of the run, since a plan's forecast is of it; None:
    the highest peaks of all.

    A process that ran out of memory takes the others with it: they were ended, or lost the
    connection, so its status counts.
    """
    found = [read_record(folder, process) for process in range(world_size)]
    records = [record for record in found if record is not None]
    worst = min(records, key=severity, default=None)
    missing = len(records) < world_size
    if worst is None or (missing and not tells_why(worst)):
        return None
    if world_size == 1:
        return worst
    first = found[0] or worst
    where = f"process {worst.process}: " if worst.message and worst.status is not Status.OK else ""
    silent = [str(process) for process, record in enumerate(found) if record is None]
    lost = f" (process {', '.join(silent)} left no record)" if silent else ""
    return replace(
        first,
        status=worst.status,
        message=f"{where}{worst.message}{lost}",
        process=worst.process,
        memory=merged_memory(records, first.memory, own),
        processes=tuple(
            ProcessMemory(process=record.process, memory=record.memory) for record in records
        ),
    )


def merged_memory(
    records: Sequence[Record], first: MeasuredMemory, own: int | None
) -> MeasuredMemory:
    """The highest peaks of a device, and the host bytes of all processes together."""
    everybody = [record.memory for record in records]
    chosen = [record.memory for record in records if own in (None, record.process)] or everybody
    return replace(
        first,
        peak_allocated_bytes=most(*(one.peak_allocated_bytes for one in chosen)),
        peak_reserved_bytes=most(*(one.peak_reserved_bytes for one in chosen)),
        process_bytes=most(*(one.process_bytes for one in chosen)),
        host_bytes=total(one.host_bytes for one in everybody),
        pinned_bytes=total(one.pinned_bytes for one in everybody),
    )


def severity(record: Record) -> int:
    """Position of a record among those of its run, the worst first."""
    return WORST_FIRST.index(record.status)


def tells_why(record: Record) -> bool:
    """Whether a record names a cause of its own, not that another process was gone."""
    return record.status not in (Status.OK, Status.STOPPED, Status.PEER_LOST)


def missing_processes(folder: Path, world_size: int) -> list[int]:
    """Numbers of the processes that left no record."""
    return [process for process in range(world_size) if read_record(folder, process) is None]


def total(values: Iterable[int | None]) -> int | None:
    """The sum of the known values; None if none is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
