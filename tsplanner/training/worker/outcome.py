"""The status and the sentence of a run that raised an error."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from tsplanner.errors import TsplannerError
from tsplanner.runs import DiskError, disk_error_sentence
from tsplanner.training import distributed
from tsplanner.training.job import Status
from tsplanner.training.multi_lora.refused import CannotShareBaseError
from tsplanner.training.solo import trainer
from tsplanner.training.worker.untyped_errors import UntypedError, untyped_error


def guarded(work: Callable[[], Status], folder: Path) -> tuple[Status, str]:
    """Do the work; turn whatever the work raises into a status and one sentence."""
    try:
        return work(), ""
    except Exception as error:
        with contextlib.suppress(OSError):  # the disk of the log may be what is full
            traceback.print_exc()
        return outcome_of(error, folder)


def outcome_of(error: Exception, folder: Path) -> tuple[Status, str]:
    """The status that an exception stands for, and one sentence for the user."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        return Status.DEVICE_OOM, f"The GPU ran out of memory: {text}"
    untyped = untyped_error(error)
    if isinstance(error, MemoryError) or untyped is UntypedError.HOST_MEMORY:
        return Status.HOST_OOM, "The machine ran out of memory."
    if untyped is UntypedError.DEVICE_MEMORY:
        return Status.DEVICE_OOM, "The GPU ran out of memory outside PyTorch's allocator."
    return failure_of(error, text, folder)


def failure_of(error: Exception, text: str, folder: Path) -> tuple[Status, str]:
    """Status and sentence of an error that is not about memory; ``text`` is its first line."""
    if distributed.lost_connection(error):
        return Status.PEER_LOST, f"lost the other processes: {type(error).__name__}: {text}"
    if isinstance(error, OSError) and (sentence := disk_error_sentence(error, folder)):
        return Status.NOT_WRITABLE, sentence
    if untyped_error(error) is UntypedError.FULL_DISK:
        return Status.NOT_WRITABLE, f"The disk under {folder} is full: free some space."
    if isinstance(error, trainer.DivergedError):
        return Status.DIVERGED, f"diverged: {text}"
    if isinstance(error, CannotShareBaseError):
        return Status.CANNOT_SHARE, text
    if isinstance(error, DiskError):
        return Status.NOT_WRITABLE, text
    if isinstance(error, TsplannerError):
        return Status.CRASHED, text
    return Status.CRASHED, f"{type(error).__name__}: {text}"
