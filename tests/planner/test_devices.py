"""Mixed machines: the weakest of the GPUs used decides, and some may be left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Device, LinkType, NodeLink
from memory_models.settings import Dtype, from_flat
from tests.support.rig import TURING
from tests.support.toy_request import GIB, HOPPER, machine, request, with_free
from tsplanner.planner.devices import (
    device_groups,
    device_notes,
    of_one_kind,
    used_devices,
    used_machine,
)
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings

TWO = from_flat(HardwareSettings, world_size=2)


def planned(*devices: Device, ranks: int | None = None) -> Plan:
    """A small model on these cards."""
    pins = Pins() if ranks is None else Pins(world_size=ranks)
    return choose(request("qwen2.5-0.5b", *devices, pins=pins)).plan


@pytest.mark.parametrize(
    ("devices", "ranks", "groups"),
    [
        # Like cards: one group a number.
        ((HOPPER, HOPPER), 1, [(0,)]),
        ((HOPPER, HOPPER), 2, [(0, 1)]),
        # Like cards of which one is fuller: the emptiest.
        ((with_free(HOPPER, 8), HOPPER, HOPPER), 2, [(1, 2)]),
        # The better card is better in everything.
        ((TURING, HOPPER), 1, [(1,)]),
        ((TURING, HOPPER), 2, [(0, 1)]),
        # Faster but fuller: both may be best.
        ((TURING, with_free(HOPPER, 8)), 1, [(0,), (1,)]),
        ((TURING, TURING, with_free(HOPPER, 8), with_free(HOPPER, 8)), 2, [(0, 1), (2, 3)]),
        ((HOPPER,), 2, []),
    ],
)
def test_groups_hold_every_set_of_cards_that_can_be_best(
    devices: tuple[Device, ...], ranks: int, groups: list[tuple[int, ...]]
) -> None:
    """By the slowest and the fullest of each set."""
    assert device_groups(machine(*devices), ranks) == groups


def test_no_set_of_cards_is_better_than_every_group() -> None:
    """All pairs of four unlike cards: some group is at least as good in every trait and in room."""
    cards = [
        replace(
            HOPPER,
            name=f"card {number}",
            matrix_flops_per_second=flops,
            memory_bytes_per_second=bandwidth,
            free_bytes=free * GIB,
        )
        for number, (flops, bandwidth, free) in enumerate(
            [(9e14, 1e12, 20), (5e14, 4e12, 30), (7e14, 2e12, 10), (1e14, 3e12, 80)]
        )
    ]

    def worst(group: tuple[int, ...]) -> tuple[float, ...]:
        used = [cards[place] for place in group]
        return tuple(
            min(getattr(card, name) for card in used)
            for name in ("matrix_flops_per_second", "memory_bytes_per_second", "free_bytes")
        )

    groups = [worst(group) for group in device_groups(machine(*cards), 2)]
    pairs = [(first, second) for second in range(4) for first in range(second)]
    for pair in map(worst, pairs):
        assert any(all(a >= b for a, b in zip(group, pair, strict=True)) for group in groups)


def test_a_fast_card_alone_beats_itself_with_a_slow_one() -> None:
    """An H200 would wait for the 2080 Ti; the plan says which it uses."""
    plan = planned(TURING, HOPPER)
    assert plan.hardware.devices == (1,)
    assert used_devices(plan.machine, plan.hardware) == (HOPPER,)
    assert plan.hardware.base.autocast is Dtype.BF16
    assert plan.free_bytes == 139 * GIB
    assert "uses 1x H200 of 1x RTX 2080 Ti + 1x H200" in plan.assumptions


def test_two_fast_cards_beat_two_fast_and_two_slow_ones() -> None:
    """Four ranks at the pace of a 2080 Ti are slower than two H200."""
    plan = planned(HOPPER, TURING, HOPPER, TURING)
    assert {device.name for device in used_devices(plan.machine, plan.hardware)} == {"H200"}


def test_cards_used_together_go_by_the_slowest_and_the_fullest() -> None:
    """A 2080 Ti beside an H200 is as slow and as small as two 2080 Ti, and the plan says so."""
    mixed, like = planned(TURING, HOPPER, ranks=2), planned(TURING, TURING, ranks=2)
    assert mixed.free_bytes == 21 * GIB
    assert mixed.hardware == like.hardware
    assert mixed.time.step_seconds == like.time.step_seconds
    assert (
        "the GPUs differ: free memory is that of the fullest (RTX 2080 Ti, 21.0 GiB), "
        "speed that of the slowest (RTX 2080 Ti)"
    ) in mixed.assumptions


def test_like_cards_of_which_one_is_fuller_differ_in_memory_alone() -> None:
    """Nothing is said of speed."""
    rig = machine(HOPPER, with_free(HOPPER, 8))
    assert device_notes(rig, TWO) == [
        "the GPUs differ: free memory is that of the fullest (H200, 8.0 GiB)"
    ]
    assert device_notes(machine(HOPPER, HOPPER), TWO) == []


@pytest.mark.parametrize(("devices", "rate"), [((HOPPER, HOPPER), 50e9), ((HOPPER, TURING), 12e9)])
def test_without_nvlink_cards_meet_through_the_slower_slot(
    devices: tuple[Device, ...], rate: float
) -> None:
    """An H200's slot moves 50 GB/s, a 2080 Ti's 12."""
    assert used_machine(machine(*devices), TWO).link_bytes_per_second == rate


def test_a_figure_of_the_machines_own_is_kept() -> None:
    """NVLink's, or one that a machine file names."""
    for link, rate in ((LinkType.NVLINK, 450e9), (LinkType.PCIE, 5e9)):
        rig = replace(machine(HOPPER, TURING), link=link, link_bytes_per_second=rate)
        assert used_machine(rig, TWO).link_bytes_per_second == rate


def test_a_rig_without_nvlink_takes_longer_for_the_same_plan() -> None:
    """Gathers of ZeRO-3 cross the link in every pass."""
    pins = Pins(world_size=2, zero_stage=3, micro_batch_size=1, gradient_checkpointing=True)
    asked = request("qwen2.5-7b", HOPPER, HOPPER, pins=pins)
    wired = replace(asked.machine, link=LinkType.NVLINK, link_bytes_per_second=450e9)
    slow = choose(asked).plan.time.step_seconds
    fast = choose(replace(asked, machine=wired)).plan.time.step_seconds
    assert slow > fast


@pytest.mark.parametrize(
    ("cards", "network", "rate"),
    [
        # The network is the slower one, PCIe is, and one card a machine has the network alone.
        (2, 1.25e9, 1.25e9),
        (2, 500e9, 50e9),
        (1, 500e9, 500e9),
    ],
)
def test_a_ring_over_machines_runs_at_the_pace_of_the_slower_link(
    cards: int, network: float, rate: float
) -> None:
    """Cards of one machine reach each other at 50 GB/s, by the slot of a card."""
    several = replace(
        machine(*[HOPPER] * cards), nodes=2, node_link=NodeLink(bytes_per_second=network)
    )
    hardware = from_flat(HardwareSettings, world_size=2 * cards, nodes=2)
    used = used_machine(several, hardware)
    assert len(used.devices) == cards
    assert used.link_bytes_per_second == rate
    assert used.within_bytes_per_second == (50e9 if cards == 2 else None)
    alone = used_machine(several, from_flat(HardwareSettings, world_size=cards))
    assert alone.link_bytes_per_second == (50e9 if cards == 2 else None)


def test_gpus_of_one_name_and_two_sizes_are_of_two_kinds() -> None:
    """A 2080 Ti that somebody gave 22 GiB beside one of 11; how full they are is no kind."""
    small = replace(TURING, total_bytes=11 * GIB, free_bytes=10 * GIB)
    three = from_flat(HardwareSettings, world_size=3)
    rig = machine(TURING, small, with_free(TURING, 3))
    assert of_one_kind(rig, three) == ((0, 2), (1,))
    assert of_one_kind(machine(HOPPER, HOPPER), TWO) == ((0, 1),)
