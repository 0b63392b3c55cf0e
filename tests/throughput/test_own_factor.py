"""What a measured step says of the rest where streamed layers wait for their link."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tsplanner.throughput.host_link import LinkTime
from tsplanner.throughput.own_factor import own_factor
from tsplanner.throughput.step_parts import StepTime

STEP = StepTime(matrix=9, memory=0, launch=0, optimizer=1, communication=0, offload=0)
"""3 s of forward, 6 of backward and 1 of the optimizer."""
WAITS = replace(STEP, link=LinkTime(weights=4))
"""Forward takes 4 s: 11 s in all."""


def test_a_step_that_waits_for_no_link_has_the_ratio() -> None:
    """20 s of 10 are twice as long, whatever a link hides behind the work."""
    assert own_factor(STEP, 20) == 2
    assert own_factor(replace(STEP, link=LinkTime(weights=2)), 20) == 2


@pytest.mark.parametrize(
    ("factor", "seconds"), [(2, 6 + 12 + 2), (1.2, 4 + 7.2 + 1.2), (1, 11), (0.9, 4 + 5.4 + 0.9)]
)
def test_the_link_is_as_fast_as_it_is(factor: float, seconds: float) -> None:
    """Forward takes its own time or the 4 s of the link; backward and the optimizer their own."""
    assert own_factor(WAITS, seconds) == pytest.approx(factor)


def test_where_the_link_decides_all_nothing_is_corrected() -> None:
    """7 s of weights in each half, where 3 and 6 s of work are."""
    assert own_factor(replace(STEP, link=LinkTime(weights=7)), 30) == 1


def test_a_step_faster_than_its_link_is_no_nonsense() -> None:
    """2.75 s of 11, less than the 4 s of the link: a quarter squared, and not zero or less."""
    assert own_factor(WAITS, 2.75) == pytest.approx(1 / 16)


def test_links_between_gpus_and_cpus_are_part_of_the_step() -> None:
    """Nobody measures them apart."""
    between = replace(WAITS, link=replace(WAITS.link, to_host=False))
    assert own_factor(between, 2 * between.seconds) == 2
    alone = replace(WAITS, overlaps=False)
    assert own_factor(alone, 2 * alone.seconds) == 2
