"""Where the frozen weights of decoder layers, and the layers' inputs, wait for their turn."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from memory_models.frozen import frozen
from memory_models.settings.counts import LARGEST_COUNT, at_least_one


@frozen
class Streaming:
    """Layers in host memory, which pass through the device while other layers work.

    All micro-batches of an optimizer step pass through one layer before the next layer comes, so
    that the weights cross the link to the host twice per step: once forward, once backward. The
    layers' inputs are the only activations that are kept.
    """

    streamed_layers: int | tuple[int, ...] = 0
    """Decoder layers whose frozen weights are in host memory; 0: all weights are on the device.

    A number for every process of a machine, in the order of its GPUs, where the numbers differ.
    """
    inputs_on_device: int | None = None
    """As many layer inputs as so many layers have wait for backward on the device, and the others
    in host memory; None: all of them."""
    stream_from_files: bool = False
    """The weights stay in the model's files and are read anew each time they come; the host holds
    two layers of them."""
    passes_together: int | None = None
    """Passes that go through a layer before the next layer comes; None: all of a step.

    Fewer keep fewer inputs, and the weights cross the link twice for each group of them.
    """

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        if not self.numbers:
            raise ValueError("streamed_layers has no number: give one, or one for each process")
        for number in self.numbers:
            if not 0 <= number <= LARGEST_COUNT:
                raise ValueError(f"streamed_layers must be from 0 to {LARGEST_COUNT}, not {number}")
        if len(set(self.numbers)) == 1:
            object.__setattr__(self, "streamed_layers", self.numbers[0])
        elif not min(self.numbers):
            # A process that streams nothing would join its gradients at other times.
            raise ValueError(
                f"streamed_layers {self.words}: every process streams 1 layer or more, or none does"
            )
        given = {
            "inputs_on_device": self.sends_inputs,
            "stream_from_files": self.stream_from_files,
            "passes_together": self.passes_together,
        }
        for name, needs_layers in given.items():
            if needs_layers and not self.streamed_layers:
                raise ValueError(f"{name} needs streamed_layers of 1 or more")
        if not 0 <= (self.inputs_on_device or 0) <= LARGEST_COUNT:
            raise ValueError(
                f"inputs_on_device must be from 0 to {LARGEST_COUNT}, not {self.inputs_on_device}"
            )
        if self.passes_together is not None:
            at_least_one(self, "passes_together")

    def together(self, passes: int) -> int:
        """Passes of a step of so many that go through a layer together."""
        return min(passes, self.passes_together or passes)

    @cached_property
    def streams(self) -> bool:
        """Whether any layer is in host memory."""
        return self.most > 0

    @property
    def sends_inputs(self) -> bool:
        """Whether inputs of layers may wait in host memory."""
        return self.inputs_on_device is not None

    def kept_inputs(self, layers: int) -> int:
        """How many of so many ``layers`` have as many inputs as wait on the device."""
        return layers if self.inputs_on_device is None else min(self.inputs_on_device, layers)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The number of every process of a machine; one number where all stream as many."""
        given = self.streamed_layers
        return (given,) if isinstance(given, int) else given

    def numbers_of(self, processes: int) -> tuple[int, ...]:
        """The number of each of so many processes of a machine."""
        return self.numbers if self.differs else self.numbers * processes

    @cached_property
    def differs(self) -> bool:
        """Whether the processes of a machine stream unlike numbers of layers."""
        return len(self.numbers) > 1

    @cached_property
    def most(self) -> int:
        """Streamed layers of the process that streams the most."""
        return max(self.numbers)

    @property
    def words(self) -> str:
        """The numbers as a flag takes them, such as ``20,40``."""
        return ",".join(map(str, self.numbers))

    @property
    def shown(self) -> int | str:
        """The number, or the numbers as people read them, such as ``20/40``."""
        return "/".join(map(str, self.numbers)) if self.differs else self.most

    def of_process(self, process: int) -> Streaming:
        """How one process of a machine streams."""
        return replace(self, streamed_layers=self.numbers[process]) if self.differs else self

    def on_host(self, layers: int) -> dict[int, int]:
        """The layers, of so many, that any process of a machine streams, by their places.

        Each with the first process that does, which fills the place that all of them read.
        """
        found: dict[int, int] = {}
        for process, number in enumerate(self.numbers):
            for place in set(range(layers)) - resident_layers(layers, number):
                found.setdefault(place, process)
        return found


def resident_layers(layers: int, streamed: int) -> frozenset[int]:
    """Places of the layers that stay on the device, spread evenly over all ``layers``.

    Spread out, each of them gives the link time to bring a streamed layer after it; side by side
    they would leave the link idle, since only one layer can be brought ahead.
    """
    kept = layers - streamed
    return frozenset(place * layers // kept for place in range(kept)) if kept > 0 else frozenset()


def input_stays(place: int, kept: int, layers: int) -> bool:
    """Whether a layer's input of one pass waits on the device; ``place``: in the order of backward.

    Of the inputs of all ``layers``, as many as ``kept`` layers have: spread evenly over layers and
    passes, so that the link has as much to bring beside every layer, and the first that backward
    reads is one of them.
    """
    return place * kept % layers < kept
