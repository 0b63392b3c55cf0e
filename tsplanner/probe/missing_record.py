"""The record of a worker that could not say itself how it ended."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import msgspec

from tsplanner import runs
from tsplanner.probe.process_records import missing_processes
from tsplanner.processes import ProcessResult
from tsplanner.training.job import CANNOT_WRITE, Job, Status
from tsplanner.training.record import Record, record_file

LOG_FILE = "worker.log"
LOG_TAIL_LINES = 3
LAUNCHER = "torch/distributed/elastic/"
"""In every line that torchrun logs about ranks that ended."""
CGROUP_EVENTS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)
"""cgroup v2 and v1 files whose ``oom_kill`` line counts processes the kernel killed."""
NEARLY_ALL = 0.95
"""Share of the memory limit above which an unexplained kill counts as out of memory."""
FROM_OUTSIDE = tuple(
    getattr(signal, name)
    for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
)
"""Signals that others send; a fault of the worker itself raises another one."""
NO_PAGE = getattr(signal, "SIGBUS", None)
"""The signal for a page of a mapped file, or of shared memory, that is not there."""
RECORD_BYTES = 64 * 1024
"""A disk with less room than this takes no record."""


def missing_record(job: Job, result: ProcessResult, kills_before: int | None) -> Record:
    """What happened to a worker that could not say it itself."""
    ranks = job.plan.hardware.sharding.world_size
    # Under torchrun the process that ended is the launcher, which hides the worker's signal.
    killed = result.stopped_by_signal == signal.SIGKILL or ranks > 1
    if killed and was_out_of_memory(kills_before):
        return ended_badly(
            job,
            Status.HOST_OOM,
            "the system killed the worker because the machine's memory ran out: "
            "use a smaller micro-batch or a smaller model",
        )
    if result.exit_status == CANNOT_WRITE or disk_is_full(Path(job.folder)):
        return ended_badly(
            job,
            Status.NOT_WRITABLE,
            f"the worker could not write into {job.folder}: free some space, or mend the "
            "permissions",
        )
    if result.stopped_by_signal == NO_PAGE:
        return ended_badly(
            job,
            Status.CRASHED,
            "a page of memory had nothing behind it: a file of "
            f"{job.plan.model.path or job.plan.model.name} became shorter while it was read (fetch "
            "it again, and let nothing write there), or the container gives no more memory",
        )
    how = (
        f"was ended by {signal.Signals(result.stopped_by_signal).name}"
        if result.stopped_by_signal
        else f"ended with status {result.exit_status} and left no record"
    )
    gone = missing_processes(Path(job.folder), ranks)
    log = Path(job.folder) / LOG_FILE
    lines = log_tail(log) if ranks == 1 else log_tail(log, until=LAUNCHER)
    if ranks > 1 and 0 < len(gone) < ranks:
        which = f"process{'es' if len(gone) > 1 else ''} {', '.join(map(str, gone))}"
        how = f"lost {which}, which left no record, and all processes were ended"
        lines = log_tail(log, 1)  # the launcher's last line is how the first one to go went
    said = f": {' | '.join(lines)}" if lines else ""
    outside = result.stopped_by_signal in FROM_OUTSIDE
    status = Status.KILLED if outside else Status.CRASHED
    return ended_badly(job, status, f"the worker {how}{said}")


def disk_is_full(folder: Path) -> bool:
    """Whether a folder's disk has no room for a record."""
    with contextlib.suppress(OSError):
        return runs.free_disk_bytes(folder) < RECORD_BYTES
    return False


def ended_badly(job: Job, status: Status, message: str) -> Record:
    """A record with nothing but a status and a sentence, written next to the job."""
    record = Record(status=status, kind=job.kind, message=message)
    with contextlib.suppress(Exception):  # the disk may be what is at fault
        write(job, record)
    return record


def write(job: Job, record: Record) -> None:
    """Leave the run's record next to the job."""
    path = record_file(Path(job.folder), 0)
    runs.write_bytes(path, msgspec.json.format(msgspec.json.encode(record)))


def log_tail(path: Path, lines: int = LOG_TAIL_LINES, until: str | None = None) -> list[str]:
    """The last lines of a log that say something, before the first that has ``until`` in it."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    if until is not None and until in text:
        text = text[: text.index(until)].rpartition("\n")[0]
    said = [line.strip() for line in text.splitlines()]
    # torchrun frames its report with lines of = and -.
    return [line for line in said if line.strip("=-")][-lines:]


def oom_kills(files: tuple[Path, ...] = CGROUP_EVENTS) -> int | None:
    """Processes the kernel has killed for memory in this cgroup; None where it does not say."""
    for path in files:
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill":
                    return int(count)
    return None


def was_out_of_memory(kills_before: int | None, *, used_share: float | None = None) -> bool:
    """Whether a SIGKILL was the kernel's: its counter rose, or memory is nearly all used."""
    now = oom_kills()
    if now is not None and kills_before is not None and now > kills_before:
        return True
    if used_share is None:
        import psutil

        used_share = float(psutil.virtual_memory().percent) / 100
    return used_share > NEARLY_ALL
