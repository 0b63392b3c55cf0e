"""Host memory that a GPU can read at the full speed of its link.

PyTorch's own pinned memory is rounded up to a power of two, which would add up to a whole base.
A region is as large as it is asked for. It belongs to no file, so nothing of it is left when its
processes end, however they end.
"""

from __future__ import annotations

import mmap

import torch
from torch import Tensor

from memory_models.units import format_gib
from tsplanner.errors import TsplannerError

PAGE_BYTES = mmap.PAGESIZE
_LOCKED = {"now": 0, "peak": 0}
_OF_OTHERS = {"bytes": 0}


def locked_bytes() -> int:
    """Most bytes that the regions of this process have locked at one time."""
    return _LOCKED["peak"]


def bytes_of_others() -> int:
    """Bytes that this process maps and another process of the host accounts for."""
    return _OF_OTHERS["bytes"]


class Region:
    """Bytes of host memory, locked in place where a GPU reads them."""

    def __init__(
        self, size: int, *, lock: bool, file: int = -1, offset: int = 0, others: bool = False
    ) -> None:
        """Take ``size`` bytes; ``file``: of a memory file from ``offset`` on, shared by processes.

        ``others``: another process accounts for the memory.

        Raises TsplannerError: there is not so much memory, or it cannot be locked.
        """
        flags = mmap.MAP_SHARED if file >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.size, self.locked = size, False
        try:
            memory = mmap.mmap(file, size, flags=flags, offset=offset)
        except OSError as error:
            raise TsplannerError(
                f"The host has no {format_gib(size)} GiB of memory for streamed layers: plan again "
                "with fewer of them (--streamed-layers)."
            ) from error
        if file < 0 and hasattr(mmap, "MADV_HUGEPAGE"):
            # Fewer and larger pages are locked in a tenth of the time.
            memory.madvise(mmap.MADV_HUGEPAGE)
        self.bytes: Tensor = torch.frombuffer(memory, dtype=torch.uint8)
        """All of it [size]; the memory lives as long as a view of this tensor does."""
        self.wanted = lock
        _OF_OTHERS["bytes"] += size if others else 0

    def lock(self) -> None:
        """Lock the pages, once they are filled; without a GPU nothing is done.

        Raises TsplannerError: the driver or the container does not allow it.
        """
        if not self.wanted or self.locked:
            return
        code = torch.cuda.cudart().cudaHostRegister(self.bytes.data_ptr(), self.size, 0)
        if int(code) != 0:
            raise TsplannerError(
                f"The driver could not lock {format_gib(self.size)} GiB of host memory, after "
                f"{format_gib(_LOCKED['now'])} GiB for other layers: raise the limit of locked "
                "memory (ulimit -l) or the container's memory limit, or plan again with fewer "
                "--streamed-layers."
            )
        self.locked = True
        _LOCKED["now"] += self.size
        _LOCKED["peak"] = max(_LOCKED["peak"], _LOCKED["now"])

    def release(self) -> None:
        """Unlock the pages and let go of them."""
        if self.locked:
            torch.cuda.cudart().cudaHostUnregister(self.bytes.data_ptr())
            self.locked = False
            _LOCKED["now"] -= self.size
        self.bytes = self.bytes.new_empty(0)

    def __del__(self) -> None:
        """Unlock what nobody has released, before the pages go back to the system."""
        if getattr(self, "locked", False) and torch is not None:
            self.release()
