"""Where the layers' inputs wait for backward: on the device, or in host memory.

Notation: M micro-batches of a step; each input is [B, S, D].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from tsplanner.training.streaming.regions import Region

IN_FLIGHT = 2
"""Inputs that are on their way to the host, or back, at one time."""


class DeviceInputs:
    """Keeps the inputs on the device."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], Tensor] = {}

    def begin(self, layers: int, inputs: Sequence[Tensor]) -> None:
        """A step of this many ``layers`` begins with these inputs of the first one."""
        self.kept.clear()

    def keep(self, layer: int, batch: int, tensor: Tensor) -> None:
        """Keep what a layer of a micro-batch reads."""
        self.kept[layer, batch] = tensor

    def turn(self) -> None:
        """Forward has ended, and backward begins at the last layer and the first micro-batch."""

    def take(self, layer: int, batch: int) -> Tensor:
        """What was kept, which is then forgotten."""
        return self.kept.pop((layer, batch))

    def end(self) -> None:
        """The step has ended."""
        self.kept.clear()


class HostInputs:
    """Sends the inputs to the host, and brings each back while the one before it is at work."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if self.cuda else None
        self.region: Region | None = None
        self.room: Tensor | None = None
        """The region's bytes."""
        self.layers = 0
        self.forms: list[tuple[torch.Size, torch.dtype, int]] = []
        """Shape, dtype and bytes of each micro-batch's inputs."""
        self.offsets: list[int] = []
        self.leaving: deque[tuple[torch.cuda.Event | None, Tensor]] = deque()
        self.coming: dict[tuple[int, int], tuple[torch.cuda.Event | None, Tensor]] = {}

    def begin(self, layers: int, inputs: Sequence[Tensor]) -> None:
        """Have room for the inputs of a step; the region grows and never shrinks."""
        self.layers, self.offsets, total = layers, [], 0
        self.forms = [(each.shape, each.dtype, each.nbytes) for each in inputs]
        for each in inputs:
            self.offsets.append(total)
            total += each.nbytes
        self.total = total
        if self.room is None or self.room.numel() < layers * total:
            self.room = None
            self.room = self.taken(layers * total)

    def taken(self, size: int) -> Tensor:
        """Host memory [size] in place of what was there."""
        if self.region is not None:
            self.region.release()
        self.region = Region(size, lock=self.cuda)
        self.region.lock()
        return self.region.bytes

    def _host(self, layer: int, batch: int) -> Tensor:
        assert self.room is not None
        shape, dtype, size = self.forms[batch]
        start = layer * self.total + self.offsets[batch]
        return self.room[start : start + size].view(dtype).view(shape)

    def keep(self, layer: int, batch: int, tensor: Tensor) -> None:
        """Begin to send what a layer of a micro-batch reads."""
        host = self._host(layer, batch)
        if self.stream is None:
            host.copy_(tensor)
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            host.copy_(tensor, non_blocking=True)
        self.leaving.append((self.stream.record_event(), tensor))
        # A tensor may be freed once the stream that would use its memory waits for the copy.
        if len(self.leaving) > IN_FLIGHT:
            self._left()

    def _left(self) -> None:
        event, _ = self.leaving.popleft()
        if event is not None:
            torch.cuda.current_stream().wait_event(event)

    def turn(self) -> None:
        """Wait for what is on its way, and begin to bring the first input of backward."""
        while self.leaving:
            self._left()
        self._bring(self.layers - 1, 0)

    def _bring(self, layer: int, batch: int) -> None:
        if layer < 0:
            return
        host = self._host(layer, batch)
        if self.stream is None:
            self.coming[layer, batch] = (None, host.clone())
            return
        tensor = torch.empty_like(host, device=self.device)
        # Its memory was another tensor's, whose work is still queued.
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            tensor.copy_(host, non_blocking=True)
        self.coming[layer, batch] = (self.stream.record_event(), tensor)

    def take(self, layer: int, batch: int) -> Tensor:
        """What was kept, back on the device; the next one is on its way."""
        event, tensor = self.coming.pop((layer, batch))
        last = batch == len(self.forms) - 1
        self._bring(*((layer - 1, 0) if last else (layer, batch + 1)))
        if event is not None:
            torch.cuda.current_stream().wait_event(event)
        return tensor

    def end(self) -> None:
        """The step has ended."""
        self.coming.clear()
        self.leaving.clear()
