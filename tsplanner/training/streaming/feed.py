"""Brings the weights of the next layer to the device while the current layer works.

Two buffers of a layer's size take turns. The copy into one of them waits until the layer that had
it has finished, and the layer that gets it waits until the copy has ended; both waits are on the
GPU, so that the host runs ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

import torch
from torch import Tensor

from tsplanner.training.streaming.files import FileReader, FileSlab
from tsplanner.training.streaming.slabs import Slab

BUFFERS = 2
"""One for the layer at work, and one for the layer that comes."""


class _Buffer:
    """Device memory for the weights of one layer at a time."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.bytes = torch.empty(size, dtype=torch.uint8, device=device)
        self.layer: int | None = None
        """The layer whose weights are there, or on their way."""
        self.filled: torch.cuda.Event | None = None
        self.reading: Future[torch.cuda.Event | None] | None = None
        """A thread that brings the weights from their files."""
        self.left: torch.cuda.Event | None = None
        """Reached once the layer that had it last has finished."""


class WeightFeed:
    """The layers of a model, of which ``slabs`` has those that are in host memory."""

    def __init__(self, slabs: Mapping[int, Slab], device: torch.device) -> None:
        self.slabs = slabs
        largest = max(slab.size for slab in slabs.values())
        self.buffers = [_Buffer(largest, device) for _ in range(BUFFERS)]
        self.cuda = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if self.cuda else None
        files = any(isinstance(slab, FileSlab) for slab in slabs.values())
        self.reader = FileReader(largest, device) if files else None
        self.copied_bytes = 0
        """Bytes that have been brought to the device so far."""

    @contextmanager
    def layer(self, index: int, ahead: Iterable[int] = ()) -> Iterator[None]:
        """Have the weights of a layer on the device; ``ahead``: layers that follow, in order."""
        slab = self.slabs.get(index)
        used = None if slab is None else (self._holding(index) or self._fetch(index, None))
        coming = next((each for each in ahead if each in self.slabs and each != index), None)
        if coming is not None and self._holding(coming) is None:
            self._fetch(coming, used)
        if slab is None or used is None:
            yield
            return
        if used.reading is not None:
            used.filled, used.reading = used.reading.result(), None
        if used.filled is not None:
            torch.cuda.current_stream().wait_event(used.filled)
        slab.install(used.bytes[: slab.size])
        try:
            yield
        finally:
            slab.rest()
            if self.cuda:
                used.left = torch.cuda.current_stream().record_event()
            self.buffers.sort(key=lambda buffer: buffer is used)

    def _holding(self, index: int) -> _Buffer | None:
        return next((buffer for buffer in self.buffers if buffer.layer == index), None)

    def _fetch(self, index: int, used: _Buffer | None) -> _Buffer:
        """Begin to bring a layer into the buffer that was used longest ago."""
        buffer = next(each for each in self.buffers if each is not used)
        slab = self.slabs[index]
        size, buffer.layer = slab.size, index
        self.copied_bytes += size
        if isinstance(slab, FileSlab):
            assert self.reader is not None
            into = buffer.bytes[:size]
            buffer.reading = self.reader.begin(slab, into, self.stream, buffer.left)
            return buffer
        host = slab.host
        assert host is not None
        if self.stream is None:
            _copy(buffer.bytes[:size], host)
            return buffer
        if buffer.left is not None:
            self.stream.wait_event(buffer.left)
        with torch.cuda.stream(self.stream):
            _copy(buffer.bytes[:size], host)
        buffer.filled = self.stream.record_event()
        return buffer


def _copy(device: Tensor, host: Tensor) -> None:
    device.copy_(host[: device.numel()], non_blocking=True)
