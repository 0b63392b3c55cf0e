"""Where the layers' inputs wait for backward: on the device, in host memory, or some in each.

Notation: M micro-batches of a step; each input is [B, S, D].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from memory_models.settings import input_stays
from tsplanner.training.streaming.regions import Region

IN_FLIGHT = 2
"""Inputs that are on their way to the host, or back, at one time."""
Place = tuple[int, int]
"""A layer and a micro-batch."""


class LayerInputs:
    """Keeps inputs here, sends the others to the host, and brings each back in good time."""

    def __init__(self, device: torch.device, on_device: int | None = None) -> None:
        """``on_device``: as many inputs as so many layers have stay there; None: all."""
        self.device, self.cuda, self.on_device = device, device.type == "cuda", on_device
        self.stream = torch.cuda.Stream(device) if self.cuda and on_device is not None else None
        self.region: Region | None = None
        self.room: Tensor | None = None
        """The region's bytes."""
        self.forms: list[tuple[torch.Size, torch.dtype, int]] = []
        """Shape, dtype and bytes of each micro-batch's inputs."""
        self.offsets: dict[Place, int] = {}
        """Where in the region the inputs lie that wait on the host, in the order of backward."""
        self.kept: dict[Place, Tensor] = {}
        self.leaving: deque[tuple[torch.cuda.Event | None, Tensor]] = deque()
        self.to_bring: deque[Place] = deque()
        self.coming: dict[Place, tuple[torch.cuda.Event | None, Tensor]] = {}

    def begin(self, layers: int, inputs: Sequence[Tensor]) -> None:
        """A step of this many ``layers`` begins with these inputs of the first one.

        The region has room for what is sent; it grows and never shrinks.
        """
        self.end()
        self.forms = [(each.shape, each.dtype, each.nbytes) for each in inputs]
        stay = layers if self.on_device is None else min(self.on_device, layers)
        total, passes = 0, len(inputs)
        for place in range(layers * passes):
            if not input_stays(place, stay, layers):
                layer, batch = layers - 1 - place // passes, place % passes
                self.offsets[layer, batch] = total
                total += self.forms[batch][2]
        if total > (0 if self.room is None else self.room.numel()):
            self.room = None
            self.room = self.taken(total)

    def taken(self, size: int) -> Tensor:
        """Host memory [size] in place of what was there."""
        if self.region is not None:
            self.region.release()
        self.region = Region(size, lock=self.cuda)
        self.region.lock()
        return self.region.bytes

    def _host(self, place: Place) -> Tensor:
        assert self.room is not None
        shape, dtype, size = self.forms[place[1]]
        start = self.offsets[place]
        return self.room[start : start + size].view(dtype).view(shape)

    def keep(self, layer: int, batch: int, tensor: Tensor) -> None:
        """Keep what a layer of a micro-batch reads, or begin to send it."""
        if (layer, batch) not in self.offsets:
            self.kept[layer, batch] = tensor
            return
        host = self._host((layer, batch))
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
        """Forward has ended, and backward begins at the last layer and the first micro-batch.

        Wait for what is on its way, and begin to bring the first input from the host.
        """
        while self.leaving:
            self._left()
        self.to_bring.extend(self.offsets)
        self._bring()

    def _bring(self) -> None:
        if not self.to_bring:
            return
        place = self.to_bring.popleft()
        host = self._host(place)
        if self.stream is None:
            self.coming[place] = (None, host.clone())
            return
        tensor = torch.empty_like(host, device=self.device)
        # Its memory was another tensor's, whose work is still queued.
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            tensor.copy_(host, non_blocking=True)
        self.coming[place] = (self.stream.record_event(), tensor)

    def take(self, layer: int, batch: int) -> Tensor:
        """What was kept, which is then forgotten; the next one from the host is on its way."""
        if (layer, batch) in self.kept:
            return self.kept.pop((layer, batch))
        event, tensor = self.coming.pop((layer, batch))
        self._bring()
        if event is not None:
            torch.cuda.current_stream().wait_event(event)
        return tensor

    def end(self) -> None:
        """The step has ended."""
        for held in (self.kept, self.coming, self.offsets, self.leaving, self.to_bring):
            held.clear()
