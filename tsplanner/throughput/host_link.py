"""Seconds in which layers cross a link on their way to work, and what the work hides of them.

Streamed layers cross the link to the host, those of a base that FSDP2 shares out that between GPUs.

Notation: W seconds of weights, once through all streamed layers; I seconds of all layer inputs of a
step, one way. In forward weights come while inputs leave, in the other direction of the link; in
backward weights and inputs come together. Each half of a step lasts as long as its work and issuing
or as its link, whichever is longer: of the work a third is forward, of
the issuing forward's own kernels, so that a step that waits for the host hides less in forward.
Where the link is longer, its streamed layers still wait for a free buffer while the first and the
last layer of each half work, and while the loss does: the link has nothing to do then (``hides``).
"""

from __future__ import annotations

from dataclasses import replace

from memory_models.activations.frozen.layer_major import host_input_bytes
from memory_models.activations.lm_head import shares_head
from memory_models.architecture import Architecture
from memory_models.frozen import frozen
from memory_models.settings import TrainingSettings
from memory_models.sharding.fully_sharded import gathered_bytes
from memory_models.states.streamed import crossing_bytes
from tsplanner.throughput.rates import Rates

HALF_BYTES = 2
FORWARD_SHARE = 1 / 3
"""Share of forward in the work of a step on a frozen base: backward is as long, and so is the
forward that runs again in it."""


@frozen
class LinkTime:
    """Seconds of one optimizer step on the link to the host, or to the other processes."""

    weights: float = 0.0
    """W."""
    inputs: float = 0.0
    """I."""
    groups: float = 1.0
    """Groups of passes, for each of which the weights come anew."""
    together: int | None = None
    """Most passes of a group; None: there is one group."""
    forward_share: float = FORWARD_SHARE
    """Share of forward in the work."""
    issued_share: float = FORWARD_SHARE
    """Share of forward in the issuing of kernels."""
    hides: float = 1.0
    """Share of the work of each half during which the link is at work as well."""
    to_host: bool = True
    """False: to the other processes."""

    def times(self, passes: float) -> LinkTime:
        """The time of a step of several passes, from that of a step of one."""
        groups = 1.0 if self.together is None else max(1.0, passes / self.together)
        return replace(self, inputs=self.inputs * passes, groups=groups)

    def exposed(self, forward: float, backward: float, *, overlaps: bool) -> float:
        """Seconds that a step waits whose halves take so many seconds; without overlap all."""
        if not overlaps:
            return 2 * (self.weights * self.groups + self.inputs)
        out, back = self.halves
        return max(0.0, out - self.hides * forward) + max(0.0, back - self.hides * backward)

    @property
    def halves(self) -> tuple[float, float]:
        """Seconds of the link in forward and in backward."""
        weights = self.weights * self.groups
        # An evaluation has no backward to hide anything behind, and nothing to hide there.
        backward = weights + self.inputs if self.forward_share < 1 else 0.0
        return max(weights, self.inputs), backward


def link_time(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> LinkTime:
    """The seconds of one optimizer step; zero where no layer comes from elsewhere."""
    if settings.sharding.shards_base:
        return _from_other_processes(architecture, settings, rates)
    if not settings.streaming.streams:
        return LinkTime()
    passes, together = settings.batch.gradient_accumulation_steps, settings.passes_together
    inputs = host_input_bytes(architecture, settings) * passes / together
    weights = rates.links.pinned
    if settings.streaming.stream_from_files:
        # Each process reads all of them, and they do not stay in the system's cache.
        weights = min(weights, rates.links.disk / settings.sharding.world_size)
    return LinkTime(
        groups=passes / together,
        together=settings.streaming.passes_together,
        weights=crossing_bytes(architecture, settings.states) / 2 / weights,
        inputs=inputs / rates.links.pinned,
    )


def _from_other_processes(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> LinkTime:
    """Every pass gathers layers forward and backward; an own slice need not cross.

    The plain loss gathers the head as well. Beside the fused one the states of a pass go to the
    slices of the head, and their gradients come back. Where each machine has a copy of the base,
    all of this stays within the machine.
    """
    processes, links = settings.sharding.slices, rates.links
    rate = links.between_gpus
    if settings.sharding.fsdp_per_host:
        rate = links.within_machine or rate
    moved = gathered_bytes(architecture, settings.states) * (processes - 1) / processes
    if shares_head(architecture, settings.head):
        moved += HALF_BYTES * (processes - 1) * settings.tokens * architecture.hidden_size
    return LinkTime(
        groups=settings.batch.gradient_accumulation_steps,
        together=1,
        to_host=False,
        weights=moved / rate,
    )
