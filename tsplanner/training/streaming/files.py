"""Layers that stay in the model's files, where neither the device nor the host has room for them.

The files are mapped into memory. A thread copies the layer that comes from there into locked
memory, and from there it goes to the device; the pages of the files are given back at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from tsplanner.errors import TsplannerError
from tsplanner.training.streaming.reading import file_mappings, let_go_of_what_was_read
from tsplanner.training.streaming.regions import Region
from tsplanner.training.streaming.slabs import Home, Slab, holder_of

STAGES = 2
"""Pieces of locked memory: one is filled while the other one is copied to the device."""


class FileSlab(Slab):
    """The weights of a layer as they lie in files."""

    def __init__(
        self, homes: Iterable[tuple[Home, ...]], device: torch.device, dtype: torch.dtype
    ) -> None:
        """Remember where the weights are mapped, and leave placeholders behind.

        ``dtype``: that they are trained in, whatever their files have.

        Raises TsplannerError: a weight is not in a file as the layer has it.
        """
        homes = list(homes)
        self.sources: list[Tensor] = [getattr(*holder_of(each[0])) for each in homes]
        mapped = file_mappings()
        for source in self.sources:
            begin, end = source.data_ptr(), source.data_ptr() + source.nbytes
            if not any(low <= begin and end <= high for low, high in mapped):
                raise TsplannerError(
                    "The model's files have its layers in another form than they are trained in, "
                    "so that they cannot stay there: plan again with --stream-from-files off."
                )
        super().__init__(homes, device, dtype)
        self.rest()

    def read_into(self, stage: Tensor) -> None:
        """Copy the weights side by side into ``stage`` [bytes], cast where the files differ."""
        for place, source in zip(self.places, self.sources, strict=True):
            place.of(stage).copy_(source)


class FileReader:
    """Brings layers from their files to the device, in a thread of its own."""

    def __init__(self, size: int, device: torch.device) -> None:
        """Have locked memory for layers of ``size`` bytes.

        Raises TsplannerError: there is no such memory, or it cannot be locked.
        """
        self.device, self.cuda = device, device.type == "cuda"
        self.stages = [Region(size, lock=self.cuda) for _ in range(STAGES)]
        for stage in self.stages:
            stage.lock()
        self.copied: list[torch.cuda.Event | None] = [None] * STAGES
        """Reached once what is in a stage has left it."""
        self.turn = 0
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="layers")

    def begin(
        self,
        slab: FileSlab,
        into: Tensor,
        stream: torch.cuda.Stream | None,
        left: torch.cuda.Event | None,
    ) -> Future[torch.cuda.Event | None]:
        """Bring a layer ``into`` a buffer [bytes] once that was ``left``; an event of its end."""
        return self.thread.submit(self._bring, slab, into, stream, left)

    def _bring(
        self,
        slab: FileSlab,
        into: Tensor,
        stream: torch.cuda.Stream | None,
        left: torch.cuda.Event | None,
    ) -> torch.cuda.Event | None:
        turn, self.turn = self.turn, (self.turn + 1) % STAGES
        copied = self.copied[turn]
        if copied is not None:
            copied.synchronize()
        stage = self.stages[turn].bytes[: slab.size]
        slab.read_into(stage)
        let_go_of_what_was_read()
        if stream is None:
            into.copy_(stage)
            return None
        with torch.cuda.device(self.device), torch.cuda.stream(stream):
            if left is not None:
                stream.wait_event(left)
            into.copy_(stage, non_blocking=True)
            self.copied[turn] = stream.record_event()
        return self.copied[turn]
