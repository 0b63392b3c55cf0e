"""What libraries say of an error for which they raise no type of its own.

A decision of this project never reads its own messages. PyTorch, NCCL, gloo and safetensors leave
no other sign of these errors than their words, so the words stand here, and only here.
"""

from __future__ import annotations

from enum import StrEnum

import torch.distributed as dist


class UntypedError(StrEnum):
    """An error that is known by its words alone."""

    HOST_MEMORY = "host memory"
    """PyTorch's CPU allocator (a RuntimeError)."""
    DEVICE_MEMORY = "device memory"
    """CUDA or NCCL ran out of memory outside PyTorch's allocator (a RuntimeError)."""
    LOST_CONNECTION = "lost connection"
    """gloo or NCCL, in the processes that are left when one is gone."""
    FULL_DISK = "full disk"
    """safetensors' own writer raises no OSError."""


SIGNS: dict[UntypedError, tuple[str, ...]] = {
    UntypedError.HOST_MEMORY: ("can't allocate memory",),
    UntypedError.DEVICE_MEMORY: ("cuda error: out of memory", "'out of memory'"),
    UntypedError.LOST_CONNECTION: (
        "connection closed by peer",
        "connection reset by peer",
        "broken pipe",
        "connection refused",
        "ncclremoteerror",
        "remote process exited",
        "communicator was aborted",
    ),
    UntypedError.FULL_DISK: ("no space left on device",),
}
"""Words of each error, in lower case; the first that is found counts."""
RAISED_AS = (RuntimeError, dist.DistNetworkError, dist.DistBackendError)
"""Types of an error of memory or connection; others that use the same words mean another thing."""


def untyped_error(error: BaseException) -> UntypedError | None:
    """Which of these errors ``error`` is; None: another one."""
    said = str(error).lower()
    for kind, signs in SIGNS.items():
        # safetensors raises a type of its own, which `RAISED_AS` does not list.
        fitting = kind is UntypedError.FULL_DISK or isinstance(error, RAISED_AS)
        if fitting and any(sign in said for sign in signs):
            return kind
    return None
