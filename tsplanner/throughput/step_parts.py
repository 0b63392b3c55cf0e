"""The parts of a step's seconds, and what they come to together."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from memory_models.frozen import frozen
from tsplanner.throughput.host_link import LinkTime

TOGETHER = 8.0
"""Power p of (a^p + b^p)^(1/p), which joins the times of work and of issuing kernels. The longer
time dominates; where both are about equal, each waits for the other from time to time."""


class Bottleneck(StrEnum):
    """Parts of a step; the values are the names that a person reads."""

    MATRIX = "matrix products"
    MEMORY = "memory traffic"
    LAUNCH = "kernel launches of small batches"
    OPTIMIZER = "optimizer step"
    COMMUNICATION = "traffic between GPUs"
    OFFLOAD = "traffic to the host"


@frozen
class StepTime:
    """Seconds of one optimizer step, by kind of work."""

    matrix: float
    memory: float
    launch: float
    """Host time to issue kernels; a GPU's work hides this time unless it is longer."""
    overlaps: bool = True
    """Whether issuing overlaps with the work (on a GPU)."""
    optimizer: float
    communication: float
    offload: float
    link: LinkTime = LinkTime()
    """What streamed layers take on the link to the host, most of it behind the work."""
    recorded: float = 0.0
    """Host time of a streamed step in which the GPU has nothing to do yet."""
    uneven: float = 0.0
    """Seconds that unequal micro-batches add: the GPU waits for the host in narrow ones and the
    host for the GPU in wide ones, which their means do not show."""

    @property
    def work(self) -> float:
        """Seconds of the GPU's work on the micro-batches."""
        return self.matrix + self.memory

    @property
    def bound_by_launch(self) -> bool:
        """Whether the GPU waits for the host to issue kernels."""
        return self.overlaps and self.launch > self.work

    @property
    def seconds(self) -> float:
        """Seconds of the whole step: work joined with issuing, plus what does not overlap."""
        alone = self.optimizer + self.communication + self.offload + self.recorded
        return self.joined + self.uneven + self.exposed + alone

    @property
    def exposed(self) -> float:
        """Seconds in which the work waits for layers that come from elsewhere."""
        if not (self.link.weights or self.link.inputs):
            return 0.0
        return self.link.exposed(*self.halves, overlaps=self.overlaps)

    @property
    def halves(self) -> tuple[float, float]:
        """Seconds of forward, and of backward with the forward that runs again in it.

        The recording before forward is in neither.
        """
        of_work, of_launch = self.link.forward_share, self.link.issued_share
        forward = self._joined(self.work * of_work, self.launch * of_launch)
        backward = self._joined(self.work * (1 - of_work), self.launch * (1 - of_launch))
        return forward + self.uneven * of_work, backward + self.uneven * (1 - of_work)

    @property
    def between_gpus(self) -> float:
        """Seconds in which the work waits for other GPUs."""
        return self.communication + (0.0 if self.link.to_host else self.exposed)

    @property
    def joined(self) -> float:
        """Seconds of work and issuing together."""
        return self._joined(self.work, self.launch)

    def _joined(self, work: float, launch: float) -> float:
        # A CPU both issues and computes, so there the two times add up.
        power = TOGETHER if self.overlaps else 1.0
        both: float = (work**power + launch**power) ** (1 / power)
        return both

    @property
    def bottleneck(self) -> Bottleneck:
        """The part that takes the longest."""
        parts = {
            Bottleneck.MATRIX: self.matrix,
            Bottleneck.MEMORY: self.memory,
            Bottleneck.LAUNCH: self.launch + self.recorded,
            Bottleneck.OPTIMIZER: self.optimizer,
            Bottleneck.COMMUNICATION: self.between_gpus,
            Bottleneck.OFFLOAD: self.offload + (self.exposed if self.link.to_host else 0.0),
        }
        return max(parts, key=lambda name: parts[name])


def times_passes(one: StepTime, passes: float) -> StepTime:
    """The time of a step of several passes, from that of a step of one."""
    return replace(
        one,
        matrix=one.matrix * passes,
        memory=one.memory * passes,
        launch=one.launch * passes,
        link=one.link.times(passes),
        recorded=one.recorded * passes,
        uneven=one.uneven * passes,
    )
