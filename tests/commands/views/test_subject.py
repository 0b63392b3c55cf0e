"""What a plan is for, on the screen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import DeviceProcess, Host
from tests.support.rig import TURING
from tests.support.toy_request import GIB, HOPPER, machine, with_free
from tsplanner.commands.views.subject import machine_lines, short_count


def test_a_machine_is_told_by_its_cards_and_by_who_uses_them() -> None:
    """Every kind of card, the RAM, and a line for each process of others."""
    process = DeviceProcess(pid=7, name="python", used_bytes=3 * GIB)
    busy = replace(with_free(TURING, 18), processes=(process,))
    host = Host(total_bytes=64 * GIB, available_bytes=32 * GIB, cpu_count=8)
    first, second = machine_lines(machine(HOPPER, busy, host=host), on_cpu=False)
    assert first == (
        "1x H200 · 141.0 GiB each, 139.0 free · sm_90: bf16 · 1x RTX 2080 Ti · 22.0 GiB each, "
        "18.0 free · sm_75: fp16, no FlashAttention-2 · pcie · 64.0 GiB RAM, 32.0 free"
    )
    assert second == "  python (pid 7) holds 3.00 GiB on RTX 2080 Ti"


def test_a_cpu_is_told_as_the_lack_of_a_gpu_or_as_a_wish() -> None:
    """And what limits its memory, if something does."""
    host = Host(
        total_bytes=8 * GIB, available_bytes=4 * GIB, cpu_count=2, memory_limited_by="cgroup v2"
    )
    assert machine_lines(machine(host=host), on_cpu=True) == [
        "no GPU: the CPU · 2 cores · 8.00 GiB RAM (cgroup v2 limit), 4.00 free"
    ]
    (words,) = machine_lines(machine(HOPPER, host=host), on_cpu=True)
    assert words.startswith("the CPU, as asked · ")


@pytest.mark.parametrize(
    ("value", "words"),
    [(999, "999"), (38_000, "38,000"), (20_190_000, "20.19M"), (7_620_000_000, "7.62B")],
)
def test_parameters_are_counted_in_millions_and_billions(value: int, words: str) -> None:
    """With two digits behind the point; a small model is counted exactly."""
    assert short_count(value) == words


def test_cards_of_one_name_and_two_sizes_are_told_apart() -> None:
    """A card that somebody gave more memory."""
    small = replace(TURING, total_bytes=11 * GIB, free_bytes=10 * GIB)
    (words,) = machine_lines(machine(TURING, small), on_cpu=False)
    assert "1x RTX 2080 Ti · 22.0 GiB each, 21.0 free" in words
    assert "1x RTX 2080 Ti · 11.0 GiB each, 10.0 free" in words
