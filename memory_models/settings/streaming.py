"""Where the frozen weights of decoder layers, and the layers' inputs, wait for their turn."""

from __future__ import annotations

from memory_models.frozen import frozen
from memory_models.settings.records import LARGEST_COUNT, at_least_one


@frozen
class Streaming:
    """Layers in host memory, which pass through the device while other layers work.

    All micro-batches of an optimizer step pass through one layer before the next layer comes, so
    that the weights cross the link to the host twice per step: once forward, once backward. The
    layers' inputs are the only activations that are kept.
    """

    streamed_layers: int = 0
    """Decoder layers whose frozen weights are in host memory; 0: all weights are on the device."""
    host_checkpoints: bool = False
    """The layers' inputs wait for backward in host memory, and not on the device."""
    stream_from_files: bool = False
    """The weights stay in the model's files and are read anew each time they come; the host holds
    two layers of them."""
    passes_together: int | None = None
    """Passes that go through a layer before the next layer comes; None: all of a step.

    Fewer keep fewer inputs, and the weights cross the link twice for each group of them.
    """

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        if not 0 <= self.streamed_layers <= LARGEST_COUNT:
            raise ValueError(
                f"streamed_layers must be from 0 to {LARGEST_COUNT}, not {self.streamed_layers}"
            )
        for name in ("host_checkpoints", "stream_from_files", "passes_together"):
            if getattr(self, name) and not self.streamed_layers:
                raise ValueError(f"{name} needs streamed_layers of 1 or more")
        if self.passes_together is not None:
            at_least_one(self, "passes_together")

    def together(self, passes: int) -> int:
        """Passes of a step of so many that go through a layer together."""
        return min(passes, self.passes_together or passes)

    @property
    def streams(self) -> bool:
        """Whether any layer is in host memory."""
        return self.streamed_layers > 0


def resident_layers(layers: int, streamed: int) -> frozenset[int]:
    """Places of the layers that stay on the device, spread evenly over all ``layers``.

    Spread out, each of them gives the link time to bring a streamed layer after it; side by side
    they would leave the link idle, since only one layer can be brought ahead.
    """
    kept = layers - streamed
    return frozenset(place * layers // kept for place in range(kept)) if kept > 0 else frozenset()
