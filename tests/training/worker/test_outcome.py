"""How the worker names what went wrong."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from tsplanner.errors import TsplannerError
from tsplanner.runs import DiskError
from tsplanner.training.job import Status
from tsplanner.training.solo.trainer import DivergedError
from tsplanner.training.worker.outcome import guarded, outcome_of

FOLDER = Path("run")
OUTCOMES = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), Status.DEVICE_OOM, "Tried 2 GiB"),
    (RuntimeError("CUDA error: out of memory"), Status.DEVICE_OOM, "outside"),
    (MemoryError(), Status.HOST_OOM, "machine"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Status.HOST_OOM, "machine"),
    (OSError(errno.ENOSPC, "No space left"), Status.NOT_WRITABLE, "disk under run is full"),
    (OSError(errno.EFBIG, "File too large"), Status.NOT_WRITABLE, "limit of its size"),
    (OSError(errno.EROFS, "Read-only file system"), Status.NOT_WRITABLE, "run is not writable"),
    (DiskError("run is not writable."), Status.NOT_WRITABLE, "run is not writable"),
    (DivergedError("the loss is nan at step 3"), Status.DIVERGED, "diverged: the loss is nan"),
    (TsplannerError("No such target."), Status.CRASHED, "No such target."),
    (KeyError("x"), Status.CRASHED, "KeyError: 'x'"),
]


@pytest.mark.parametrize(("error", "status", "words"), OUTCOMES)
def test_failure_gets_a_status_and_a_sentence(error: Exception, status: Status, words: str) -> None:
    """Each way to fail has its own status, told in one line."""
    found, message = outcome_of(error, FOLDER)
    assert found is status
    assert words in message
    assert "\n" not in message


def test_work_that_raises_does_not_escape(capsys: pytest.CaptureFixture[str]) -> None:
    """The worker's record is written even after an unforeseen error."""

    def work() -> Status:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert guarded(work, FOLDER)[0] is Status.DEVICE_OOM
    assert "OutOfMemoryError" in capsys.readouterr().err


def test_a_full_disk_is_named_where_a_library_raises_its_own_error() -> None:
    """Safetensors raises no OSError."""

    class SafetensorError(Exception):
        """As that library's: no OSError."""

    error = SafetensorError("I/O error: No space left on device (os error 28)")
    assert outcome_of(error, FOLDER) == (
        Status.NOT_WRITABLE,
        "The disk under run is full: free some space.",
    )


def test_a_lost_connection_is_the_end_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run of one process the same words are a crash."""
    error = RuntimeError("Connection closed by peer [10.0.0.1]:29500")
    assert outcome_of(error, FOLDER)[0] is Status.CRASHED
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert outcome_of(error, FOLDER)[0] is Status.PEER_LOST
