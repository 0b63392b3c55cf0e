"""Errors that are known by a library's words alone."""

from __future__ import annotations

import pytest

from tsplanner.training.worker.untyped_errors import UntypedError, untyped_error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA error: out of memory"), UntypedError.DEVICE_MEMORY),
        (RuntimeError("NCCL: Cuda failure 2 'out of memory'"), UntypedError.DEVICE_MEMORY),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), None),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
            UntypedError.HOST_MEMORY,
        ),
        (RuntimeError("[gloo] Connection closed by peer"), UntypedError.LOST_CONNECTION),
        (ValueError("connection refused"), None),
        (Exception("I/O error: No space left on device (os error 28)"), UntypedError.FULL_DISK),
        (KeyError("x"), None),
    ],
)
def test_words_tell_an_error_apart(error: Exception, expected: UntypedError | None) -> None:
    """Memory and connections are RuntimeErrors; a full disk is an error of any type."""
    assert untyped_error(error) is expected
