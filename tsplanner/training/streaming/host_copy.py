"""One copy of the streamed layers for all processes of a host.

The first process of the host makes a memory file, and the others map it through the first one's
entry in /proc. Every layer has a place of its own in it, which the first process that streams the
layer fills: the processes may stream unlike numbers of layers. The file has no name, so it is gone
with the last process that maps it, however that process ends.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from memory_models.units import round_up
from tsplanner.errors import TsplannerError
from tsplanner.training import distributed
from tsplanner.training.streaming.regions import PAGE_BYTES, Region


class HostCopy:
    """Regions for the layers of one base."""

    def __init__(self, rooms: Mapping[int, int], *, lock: bool) -> None:
        """``rooms``: most bytes of each layer, by its place; the same in every process.

        Raises TsplannerError: the first process's memory cannot be reached.
        """
        self.lock, self.file = lock, -1
        self.shared = distributed.processes_of_host() > 1
        self.starts: dict[int, int] = {}
        """Where the room of each layer begins, at a whole page."""
        end = 0
        for layer, size in rooms.items():
            self.starts[layer], end = end, end + round_up(size, PAGE_BYTES)
        if self.shared:
            self._open(end)

    def _open(self, size: int) -> None:
        first = distributed.local_rank() == 0
        if first:
            self.file = os.memfd_create("tsplanner-streamed-layers")
            os.ftruncate(self.file, size)
        owner, file = distributed.from_first_of_host((os.getpid(), self.file))
        if first:
            return
        try:
            self.file = os.open(f"/proc/{owner}/fd/{file}", os.O_RDWR)
        except OSError as error:
            raise TsplannerError(
                "The processes of this host do not see each other's memory: start them in one "
                "container and as one user."
            ) from error

    def region(self, layer: int, size: int, *, fills: bool) -> Region:
        """``size`` bytes for a layer; ``fills``: this process writes and accounts for them."""
        if not self.shared:
            return Region(size, lock=self.lock)
        begin = self.starts[layer]
        return Region(size, lock=self.lock, file=self.file, offset=begin, others=not fills)

    def filled(self) -> None:
        """Wait for the processes that fill; what is mapped stays, and the file needs no name."""
        if not self.shared:
            return
        distributed.barrier()
        os.close(self.file)
