"""A streamed plan says what crosses the link, and what hides it."""

from __future__ import annotations

from dataclasses import replace

from memory_models.device import HostCopies
from tests.planner.explain.test_remarks import words
from tests.planner.space.test_streamed_layers import ELEVEN
from tests.support.rig import GIB, TURING
from tests.support.toy_request import request
from tsplanner.planner.explain.reasons import RemarkKind
from tsplanner.planner.explain.sentences import CHINESE, describe, remark_sentence
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


def test_inputs_in_both_places_are_told_of_in_both_languages() -> None:
    """Of 48 layers 12 keep the inputs of 16 rows of 1,024 tokens in fp16: the others have 6 GB."""
    pins = Pins(streamed_layers=48, inputs_on_device=12)
    choice = choose(request("qwen2.5-14b", ELEVEN, length=1024, pins=pins))
    assert words(choice, RemarkKind.STREAMED_INPUTS) == (
        "the GPU keeps as many layer inputs as 12 of 48 layers have, and the others, 6.0 GB of "
        "each process, wait in host memory"
    )
    (remark,) = [each for each in choice.remarks if each.kind is RemarkKind.STREAMED_INPUTS]
    assert "48 层中 12 层的层输入，其余（每个进程 6.0 GB）" in remark_sentence(remark, CHINESE)
    alone = choose(request("qwen2.5-14b", ELEVEN, length=1024, pins=pins.with_(inputs_on_device=0)))
    assert all(each.kind is not RemarkKind.STREAMED_INPUTS for each in alone.remarks)


def test_unlike_cards_are_told_one_by_one_in_both_languages() -> None:
    """How many layers each streams, and what each holds of what it has."""
    choice = choose(
        request("qwen2.5-14b", TURING, ELEVEN, length=4096, pins=Pins(streamed_layers=(30, 48)))
    )
    assert words(choice, RemarkKind.STREAMED).startswith("30/48 of 48 layers are streamed from")
    cards = [each for each in choice.remarks if each.kind is RemarkKind.STREAMED_GPU]
    first, second = map(remark_sentence, cards)
    assert first.startswith("GPU 0 (RTX 2080 Ti) streams 30 layers and holds 1")
    assert first.endswith("of 21.0 free")
    assert second.startswith("GPU 1 (RTX 2080 Ti 11 GiB) streams 48 layers and holds ")
    assert second.endswith("of 10.0 free")
    chinese = remark_sentence(cards[1], CHINESE)
    assert chinese.startswith("GPU 1（RTX 2080 Ti 11 GiB）流式加载 48 层，占用")
    assert describe(choice.plan.hardware) == "fp16 · DDP x2 + 30/48 layers streamed"
    assert describe(choice.plan.hardware, CHINESE) == "fp16 · DDP x2 + 30/48 层流式加载"
    (note,) = [each for each in choice.plan.assumptions if each.startswith("the GPUs differ")]
    assert note == (
        "the GPUs differ: each streams as many layers as its own memory asks for, and speed is "
        "that of the slowest (RTX 2080 Ti) with the most layers"
    )


def test_a_gpu_is_named_by_its_place_in_the_machine() -> None:
    """The plan leaves the second of three cards alone, which another process has filled."""
    full = replace(ELEVEN, free_bytes=GIB)
    asked = request(
        "qwen2.5-14b", TURING, full, ELEVEN, length=4096, pins=Pins(streamed_layers=(30, 48))
    )
    choice = choose(asked)
    assert choice.plan.hardware.devices == (0, 2)
    cards = [each for each in choice.remarks if each.kind is RemarkKind.STREAMED_GPU]
    assert [each.data["place"] for each in cards] == [0, 2]
