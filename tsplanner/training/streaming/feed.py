"""Brings the weights of the next layer to the device while the current layer works.

Two buffers of a layer's size take turns. The copy into one of them waits until the layer that had
it has finished, and the layer that gets it waits until the copy has ended; both waits are on the
GPU, so that the host runs ahead. Where several passes go through a layer, the next one comes
in as many pieces, one beside each pass: a link takes copies of one direction in turn, and what else
a pass waits for (its layer's input) must not queue behind a whole layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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
        self.copied = 0
        """Bytes of them whose copy has been queued."""
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
    def layer(
        self, index: int, ahead: Iterable[int] = (), passes: int = 1
    ) -> Iterator[Callable[[], None]]:
        """Have the weights of a layer on the device; ``ahead``: layers that follow, in order.

        Yields what brings another piece of the next layer, for a call before each pass but the
        first one.
        """
        slab = self.slabs.get(index)
        used = None if slab is None else (self._holding(index) or self._begun(index, None))
        coming = next((each for each in ahead if each in self.slabs and each != index), None)
        next_one = None
        if coming is not None:
            next_one = self._holding(coming) or self._begun(coming, used)
        if used is not None:
            self._bring(used, pieces=1, paced=False)
        if next_one is not None:
            self._bring(next_one, pieces=passes, paced=False)

        def more() -> None:
            if next_one is not None:
                self._bring(next_one, pieces=passes, paced=True)

        if slab is None or used is None:
            yield more
            return
        if used.reading is not None:
            used.filled, used.reading = used.reading.result(), None
        if used.filled is not None:
            torch.cuda.current_stream().wait_event(used.filled)
        slab.install(used.bytes[: slab.size])
        try:
            yield more
        finally:
            slab.rest()
            if self.cuda:
                used.left = torch.cuda.current_stream().record_event()
            self.buffers.sort(key=lambda buffer: buffer is used)

    def _holding(self, index: int) -> _Buffer | None:
        return next((buffer for buffer in self.buffers if buffer.layer == index), None)

    def _begun(self, index: int, used: _Buffer | None) -> _Buffer:
        """Give a layer the buffer that was used longest ago; layers in files are read at once."""
        buffer = next(each for each in self.buffers if each is not used)
        slab = self.slabs[index]
        buffer.layer, buffer.copied = index, 0
        self.copied_bytes += slab.size
        if isinstance(slab, FileSlab):
            assert self.reader is not None
            into, buffer.copied = buffer.bytes[: slab.size], slab.size
            buffer.reading = self.reader.begin(slab, into, self.stream, buffer.left)
        elif self.stream is not None and buffer.left is not None:
            self.stream.wait_event(buffer.left)
        return buffer

    def _bring(self, buffer: _Buffer, *, pieces: int, paced: bool) -> None:
        """Queue the copy of one of so many pieces; ``paced``: not before the work queued so far."""
        assert buffer.layer is not None
        slab = self.slabs[buffer.layer]
        start, end = buffer.copied, min(slab.size, buffer.copied - (-slab.size // pieces))
        if start == end:
            return
        buffer.copied = end
        assert slab.host is not None
        into, host = buffer.bytes[start:end], slab.host[start:end]
        if self.stream is None:
            _copy(into, host)
            return
        if paced:
            self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            _copy(into, host)
        buffer.filled = self.stream.record_event()


def _copy(device: Tensor, host: Tensor) -> None:
    device.copy_(host, non_blocking=True)
