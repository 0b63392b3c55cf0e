"""What a measured step says of work and issuing, apart from a link that is measured itself."""

from __future__ import annotations

from tsplanner.throughput.step_parts import StepTime

HALVINGS = 40
"""Of the interval in which the factor is looked for."""


def own_factor(time: StepTime, measured: float) -> float:
    """By what work and issuing are to be multiplied for a step to take ``measured`` seconds.

    Measured over predicted seconds, but for a step that waits for streamed layers: its link is as
    fast as it is, so that all that differs is the rest, and differs by more. Where the link decides
    both halves of the step, their seconds say nothing of the rest, and the factor is one.
    """
    ratio = measured / time.seconds
    if not (time.exposed and time.overlaps and time.link.to_host):
        return ratio
    halves = list(zip(time.link.halves, time.halves, strict=True))
    hides = time.link.hides
    if all(link > own for link, own in halves):
        return 1.0
    alone = time.seconds - time.exposed - sum(time.halves)

    def seconds(factor: float) -> float:
        own = factor * (alone + sum(own for _, own in halves))
        return own + sum(max(0.0, link - hides * factor * own) for link, own in halves)

    # Where less than half of the step is its own, the square is as far as one measurement goes.
    low, high = sorted((ratio, ratio**2))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if seconds(middle) < measured else (low, middle)
    return high
