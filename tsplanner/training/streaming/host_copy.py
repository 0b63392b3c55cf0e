"""One copy of the streamed layers for all processes of a host.

The first process of the host makes a memory file and fills it, and the others map it through the
first one's entry in /proc. The file has no name, so it is gone with the last process that maps it,
however that process ends.
"""

from __future__ import annotations

import os

from memory_models.units import round_up
from tsplanner.errors import TsplannerError
from tsplanner.training import distributed
from tsplanner.training.streaming.regions import PAGE_BYTES, Region


class HostCopy:
    """Regions for the layers of one base, one after the other."""

    def __init__(self, size: int, *, lock: bool) -> None:
        """Room for ``size`` bytes in all, each region in whole pages.

        Raises TsplannerError: the first process's memory cannot be reached.
        """
        self.lock, self.file, self.end = lock, -1, 0
        self.shared = distributed.processes_of_host() > 1
        self.fills = not self.shared or distributed.local_rank() == 0
        """Whether this process writes the weights."""
        if self.shared:
            self._open(size)

    def _open(self, size: int) -> None:
        if self.fills:
            self.file = os.memfd_create("tsplanner-streamed-layers")
            os.ftruncate(self.file, size)
        owner, file = distributed.from_first_of_host((os.getpid(), self.file))
        if self.fills:
            return
        try:
            self.file = os.open(f"/proc/{owner}/fd/{file}", os.O_RDWR)
        except OSError as error:
            raise TsplannerError(
                "The processes of this host do not see each other's memory: start them in one "
                "container and as one user."
            ) from error

    def region(self, size: int) -> Region:
        """The next ``size`` bytes."""
        if not self.shared:
            return Region(size, lock=self.lock)
        begin, self.end = self.end, self.end + round_up(size, PAGE_BYTES)
        return Region(size, lock=self.lock, file=self.file, offset=begin, others=not self.fills)

    def filled(self) -> None:
        """Wait for the process that fills; what is mapped stays, and the file needs no name."""
        if not self.shared:
            return
        distributed.barrier()
        os.close(self.file)
