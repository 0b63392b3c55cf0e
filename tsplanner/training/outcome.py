"""How a run that raised ended: a status, and one sentence for the user."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from tsplanner.errors import TsplannerError
from tsplanner.runs import disk_error_sentence
from tsplanner.training import distributed
from tsplanner.training.job import DIVERGED, LOST_RANKS, Status
from tsplanner.training.solo import trainer


def guarded(work: Callable[[], Status], folder: Path) -> tuple[Status, str]:
    """Do the work; turn whatever it raises into a status and one sentence."""
    try:
        return work(), ""
    except Exception as error:
        traceback.print_exc()
        return outcome_of(error, folder)


def outcome_of(error: Exception, folder: Path) -> tuple[Status, str]:
    """The status an exception stands for, and what to tell the user."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        return Status.DEVICE_OOM, f"The GPU ran out of memory: {text}"
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return Status.HOST_OOM, "The machine ran out of memory."
    if isinstance(error, RuntimeError) and out_of_device_memory(str(error)):
        return Status.DEVICE_OOM, "The GPU ran out of memory outside PyTorch's allocator."
    return Status.CRASHED, crash_message(error, text, folder)


def crash_message(error: Exception, text: str, folder: Path) -> str:
    """One sentence on an error that is not about memory; ``text`` is its first line."""
    if distributed.lost_connection(error):
        return f"{LOST_RANKS}: {type(error).__name__}: {text}"
    if isinstance(error, OSError) and (sentence := disk_error_sentence(error, folder)):
        return sentence
    if "No space left on device" in str(error):  # safetensors' own writer
        return f"The disk under {folder} is full: free some space."
    if isinstance(error, trainer.DivergedError):
        return f"{DIVERGED}: {text}"
    if isinstance(error, TsplannerError):
        return text
    return f"{type(error).__name__}: {text}"


def out_of_device_memory(words: str) -> bool:
    """Whether CUDA or NCCL says that the device's memory is gone, outside PyTorch's allocator."""
    return "CUDA error: out of memory" in words or "'out of memory'" in words
