"""A streamed plan says what crosses the link, and what hides it."""

from __future__ import annotations

from dataclasses import replace

from memory_models.device import HostCopies
from tests.planner.explain.test_remarks import words
from tests.planner.space.test_streamed_layers import ELEVEN
from tests.support.toy_request import request
from tsplanner.planner.explain.reasons import RemarkKind
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins

ALL = Pins(streamed_layers=48)


def test_what_the_work_hides_is_told_with_bytes_and_rate() -> None:
    """92 of the 96 crossings of 0.55 GB; 12 GB/s of the datasheet are 10 of a copy."""
    found = words(
        choose(request("qwen2.5-14b", ELEVEN, length=4096, pins=ALL)), RemarkKind.STREAMED
    )
    assert found.startswith("48 of 48 layers are streamed from host memory: 51 GB per step")
    assert "at 10 GB/s, not measured) hide behind" in found


def test_a_link_that_was_measured_is_said_to_be() -> None:
    """The plan goes by what copies reached, and no share of the datasheet is taken of it."""
    copies = HostCopies(to_device=12.3e9, to_host=12e9, shared=6e9)
    measured = replace(ELEVEN, host_copies=copies)
    choice = choose(request("qwen2.5-14b", measured, length=4096, pins=ALL))
    assert "at 12 GB/s, measured) hide behind" in words(choice, RemarkKind.STREAMED)


def test_a_link_that_is_not_known_is_said_to_be_assumed() -> None:
    """12 GB/s stand in for it."""
    unknown = replace(ELEVEN, host_link_bytes_per_second=None)
    choice = choose(request("qwen2.5-14b", unknown, length=4096, pins=ALL))
    assert "assumed: the link of this GPU is not known" in words(choice, RemarkKind.STREAMED)


def test_a_slow_link_is_said_to_cost_time() -> None:
    """At 1 GB/s short rows do not hide 51 GB."""
    slow = replace(ELEVEN, host_link_bytes_per_second=1e9)
    found = words(
        choose(request("qwen2.5-14b", slow, length=256, pins=ALL)), RemarkKind.STREAMED_WAITS
    )
    assert "for the link; a larger --effective-batch hides more" in found
