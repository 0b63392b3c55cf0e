"""Rates of a machine, from datasheets or from what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.rig import HOPPER, TURING, machine
from tsplanner.throughput.rates import MEASURED, HostSeconds, rates_of


def test_the_slowest_card_sets_the_pace_and_a_cpu_has_its_own() -> None:
    """Mixed cards run at the slower one's rates."""
    assert rates_of(machine(HOPPER, TURING)).matrix_flops == rates_of(machine(TURING)).matrix_flops
    assert rates_of(machine()) == rates_of(machine(HOPPER), on_cpu=True)
    assert rates_of(machine()).matrix_flops < rates_of(machine(TURING)).matrix_flops


def test_a_datasheet_rate_counts_by_the_share_that_steps_reached() -> None:
    """56 % of 989 TFLOPS, 80 % of 4.8 TB/s, 4.8 TB/s over 3.03 crossings, 40 % of 12 GB/s."""
    found = rates_of(machine(HOPPER))
    assert found.matrix_flops == pytest.approx(0.56 * 989e12)
    assert found.memory_bytes == pytest.approx(0.80 * 4.8e12)
    assert found.written_bytes == pytest.approx(4.8e12 / 3.03)
    assert found.links.host == pytest.approx(0.80 * 12e9)
    assert found.links.between_gpus == pytest.approx(0.70 * 12e9)
    assert found.issue_overlaps


def test_a_probe_slows_the_work_and_the_issuing_apart() -> None:
    """Work that took twice as long halves every rate of the GPU; launches have their own factor."""
    slow = replace(MEASURED, work_factor=2.0, launch_factor=3.0, basis="probed")
    found, plain = rates_of(machine(HOPPER), slow), rates_of(machine(HOPPER))
    assert found.matrix_flops == plain.matrix_flops / 2
    assert found.memory_bytes == plain.memory_bytes / 2
    assert found.host.step_seconds == pytest.approx(3 * 0.050)
    assert found.basis == "probed"


def test_host_times_are_scaled_together() -> None:
    """Every time of a host is multiplied by the same factor."""
    twice = HostSeconds().times(2.0)
    assert twice.launch_seconds_per_tensor == pytest.approx(74e-6)
    assert twice.step_seconds == pytest.approx(0.1)
    assert twice.gather_seconds == pytest.approx(1.5e-3)
    assert HostSeconds().times(1.0) == HostSeconds()


def test_a_cpu_is_assumed_until_it_was_probed() -> None:
    """8 cores of 25 GFLOPS; a probe gives a basis and a narrower interval."""
    assumed = rates_of(machine())
    assert assumed.matrix_flops == 8 * 25e9
    assert (assumed.basis, assumed.known_error) == ("assumed CPU rates, not measured here", None)
    assert not assumed.issue_overlaps
    probed = rates_of(machine(), replace(MEASURED, work_factor=2.0, known_error=0.1))
    assert (probed.matrix_flops, probed.known_error) == (4 * 25e9, 0.1)


def test_a_slow_network_between_machines_does_not_slow_the_link_to_the_host() -> None:
    """Two cards over PCIe at 25 GB/s copy at 87 % of it, with a machine more 1 GB/s away too."""
    card = replace(HOPPER, host_link_bytes_per_second=32e9)
    one = replace(machine(card, card), link_bytes_per_second=25e9)
    two = replace(one, link_bytes_per_second=1e9, within_bytes_per_second=25e9)
    assert rates_of(one).links.pinned == rates_of(two).links.pinned == pytest.approx(0.87 * 25e9)
