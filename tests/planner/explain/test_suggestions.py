"""When nothing fits: each change that is offered makes a plan fit."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from memory_models.device import Host
from memory_models.settings import FinetuningType, Quantization, changed
from tests.support.rig import TURING
from tests.support.toy_request import GIB, HOPPER, request, with_free
from tsplanner.hardware.describe import assumed_host
from tsplanner.hardware.detect import with_host_memory
from tsplanner.hardware.gpus.catalog import usable_bytes
from tsplanner.planner.explain.reasons import ChangeKind
from tsplanner.planner.explain.sentences import sentence
from tsplanner.planner.explain.suggestions import FitSuggestion
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import NothingFits, choose
from tsplanner.planner.request import Pins, PlanRequest

FULL = FinetuningType.FULL
SMALL_HOST = Host(total_bytes=64 * GIB, available_bytes=12 * GIB, cpu_count=8)
MIDDLE_HOST = Host(total_bytes=128 * GIB, available_bytes=100 * GIB, cpu_count=8)
CASES = {
    "too long": request(
        "qwen2.5-3b",
        with_free(TURING, 12),
        length=32_768,
        packages=(),
        pins=Pins(streamed_layers=0),
    ),
    "full on one card": request("qwen2.5-32b", HOPPER, host=MIDDLE_HOST, finetuning_type=FULL),
    "full on a small card": request("qwen2.5-1.5b", TURING, finetuning_type=FULL, packages=()),
    "sharded": request("qwen2.5-72b", HOPPER, HOPPER, host=SMALL_HOST, finetuning_type=FULL),
    "host too small": request(
        "qwen2.5-7b",
        HOPPER,
        host=SMALL_HOST,
        pins=Pins(offload_param=True, quantization=None),
    ),
    "pinned": request(
        "qwen2.5-14b", TURING, pins=Pins(quantization=None, zero_stage=0, streamed_layers=0)
    ),
    "on the cpu": request("qwen2.5-7b", host=SMALL_HOST),
    "assumed host": request(
        "qwen2.5-7b",
        HOPPER,
        host=replace(SMALL_HOST, total_bytes=14 * GIB, assumed=True),
        pins=Pins(offload_param=True, quantization=None),
    ),
    "eight cards": request(
        "llama-3.1-70b",
        *[with_free(HOPPER, 70)] * 8,
        length=2048,
        host=Host(total_bytes=1024 * GIB, available_bytes=1022 * GIB, cpu_count=8),
        finetuning_type=FULL,
    ),
    "a full card": request("qwen2.5-0.5b", with_free(HOPPER, 0.5)),
}


def failure_of(asked: PlanRequest) -> NothingFits:
    """The answer that nothing fits."""
    with pytest.raises(NothingFits) as caught:
        choose(asked)
    return caught.value


def in_words(suggested: FitSuggestion) -> str:
    """The change as a person reads it."""
    return sentence(suggested.change, suggested.data)


def applied(asked: PlanRequest, change: str) -> PlanRequest:
    """The request after a change, read from the words a person sees."""
    number = int(found.group()) if (found := re.search(r"\d+", change)) else 0
    if change == "no pinned hardware settings":
        return replace(asked, pins=Pins())
    if change.startswith("sequences of at most"):
        shorter = changed(asked.dataset, longest=number, mean=float(number))
        return replace(asked, dataset=shorter)
    if change.startswith("method lora"):
        learning = changed(asked.learning, finetuning_type=FinetuningType.LORA)
        pins = asked.pins
        if change.endswith("nf4 base"):
            pins = Pins(quantization=Quantization.NF4_DQ)
        return replace(asked, learning=learning, pins=pins)
    machine = asked.machine
    if change.startswith("--host-memory"):
        return replace(asked, machine=with_host_memory(machine, number * GIB))
    if "machines of this kind" in change:
        host = machine.host
        many = replace(host, available_bytes=host.available_bytes * number)
        machine = replace(machine, devices=machine.devices * number, host=many)
        return replace(asked, machine=machine)
    if change.endswith("such GPUs"):
        devices = (machine.devices * number)[:number]
        if machine.host.assumed:
            machine = replace(machine, host=assumed_host(devices))
    elif "more" in change:
        host = replace(
            machine.host,
            total_bytes=machine.host.total_bytes + number * GIB,
            available_bytes=machine.host.available_bytes + number * GIB,
        )
        return replace(asked, machine=replace(machine, host=host))
    else:
        assert change.endswith("GiB")
        size = number * GIB
        devices = tuple(
            replace(card, total_bytes=size, free_bytes=usable_bytes(size))
            for card in machine.devices
        )
    return replace(asked, machine=replace(machine, devices=devices))


@pytest.mark.parametrize("name", CASES)
def test_every_suggestion_makes_a_plan_fit(name: str) -> None:
    """What a person is told to change works, and carries the bytes that it needs."""
    asked = CASES[name]
    for suggested in failure_of(asked).failure.suggestions:
        change = in_words(suggested)
        assert suggested.needs_bytes > GIB // 2, change
        plan = choose(applied(asked, change)).plan
        assert plan.verdict is Verdict.FITS, change


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("too long", "sequences of at most"),
        ("full on one card", "method lora"),
        ("full on one card", "such GPUs"),
        ("full on a small card", "a GPU of"),
        ("host too small", "GiB more host RAM"),
        ("pinned", "no pinned hardware settings"),
        ("on the cpu", "GiB more RAM"),
        ("a full card", "a GPU of 8 GiB"),
        ("assumed host", "--host-memory"),
        ("assumed host", "2 such GPUs"),
        ("eight cards", "2 machines of this kind (--nodes 2)"),
    ],
)
def test_the_obvious_change_is_offered(name: str, word: str) -> None:
    """Shorter sequences, another method, more cards, more memory, fewer pins."""
    changes = [in_words(found) for found in failure_of(CASES[name]).failure.suggestions]
    assert any(word in change for change in changes), changes


def test_a_larger_card_is_not_offered_where_the_host_is_too_small() -> None:
    """Offloaded parameters do not care for the card."""
    changes = [in_words(found) for found in failure_of(CASES["host too small"]).failure.suggestions]
    assert not any("GPU of" in change for change in changes)


def test_a_host_that_was_only_assumed_is_to_be_stated_first() -> None:
    """Nothing else has to change if the machine has the RAM; a host that is known has not."""
    kinds = {
        name: [found.change for found in failure_of(CASES[name]).failure.suggestions]
        for name in ("assumed host", "host too small")
    }
    assert kinds["assumed host"][0] is ChangeKind.STATE_HOST_RAM
    assert ChangeKind.STATE_HOST_RAM not in kinds["host too small"]
    assert ChangeKind.MORE_HOST_RAM in kinds["host too small"]


def test_a_quantised_base_that_needs_more_than_a_plain_one_is_not_offered() -> None:
    """ZeRO-3 shares 16 bits among eight cards, and 4 bits lie whole on each."""
    found = failure_of(CASES["eight cards"]).failure.suggestions
    kinds = [each.change for each in found]
    assert ChangeKind.LORA in kinds
    assert ChangeKind.LORA_ON_NF4 not in kinds
    assert all(each.of_host == (each.change is ChangeKind.MORE_HOST_RAM) for each in found)


def test_of_every_kind_of_change_only_the_first_that_helps_is_offered() -> None:
    """Half the length is enough: a quarter is not offered as well."""
    for asked in CASES.values():
        kinds = [found.change for found in failure_of(asked).failure.suggestions]
        assert len(set(kinds)) == len(kinds)


def test_a_change_without_a_number_names_none() -> None:
    """Pins and methods are changed as a whole."""
    for asked in CASES.values():
        for found in failure_of(asked).failure.suggestions:
            bare = found.change in (ChangeKind.NO_PINS, ChangeKind.LORA, ChangeKind.LORA_ON_NF4)
            assert (found.number is None) is bare
            assert found.data == ({} if bare else {"number": found.number})
