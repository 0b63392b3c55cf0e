"""From reserved bytes to the bytes that the driver charges to the process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.bounds.process import (
    by_generation,
    major_of,
    non_torch_interval,
    process_interval,
)
from memory_models.calibration import DEFAULT
from memory_models.device import Device
from memory_models.result import Interval
from memory_models.settings import Attention, TrainingSettings, changed, from_flat

ALONE = TrainingSettings()
ROUND = changed(
    DEFAULT,
    context_bytes={7: 400, 9: 1000},
    context_spread_bytes=10,
    distributed_bytes={"alone": {1: 0}, "ddp": {2: 500, 3: 700}, "zero": {1: 300}},
    distributed_spread_bytes={1: 0, 3: 70},
    measured_generations=frozenset({9}),
    unmeasured_widening=2.0,
)


def test_without_a_device_the_generation_is_the_measured_one() -> None:
    """An H200 has compute capability 9.0."""
    turing = Device(name="T4", total_bytes=1, free_bytes=1, compute_capability=(7, 5))
    assert (major_of(None), major_of(turing)) == (9, 7)


@pytest.mark.parametrize(("major", "found"), [(7, "a"), (8, "a"), (9, "b"), (12, "b"), (6, "a")])
def test_an_unknown_generation_has_the_entry_of_the_nearest_older_one(
    major: int, found: str
) -> None:
    """A generation older than all entries has the oldest entry."""
    assert by_generation({7: "a", 9: "b"}, major) == found  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("world_size", "major", "expected", "spread"),
    [(1, 9, 1000, 10), (1, 7, 400, 10), (2, 9, 1500, 10), (3, 9, 1700, 80), (8, 9, 1700, 80)],
)
def test_bytes_outside_the_allocator_are_context_and_distribution(
    world_size: int, major: int, expected: int, spread: int
) -> None:
    """More than two processes were not measured, so their bound is wider."""
    found = non_torch_interval(from_flat(TrainingSettings, world_size=world_size), major, ROUND)
    assert found == Interval(expected=expected, upper=expected + spread)


@pytest.mark.parametrize(("head_dim", "spilled"), [(64, 0), (128, 60), (192, 60), (256, 390)])
def test_flex_attention_spills_registers_by_head_size(head_dim: int, spilled: int) -> None:
    """CUDA holds them for all threads of a GPU, whoever runs."""
    flex = from_flat(TrainingSettings, attention=Attention.FLEX_ATTENTION)
    plain = non_torch_interval(ALONE, 9, DEFAULT, head_dim=head_dim)
    found = non_torch_interval(flex, 9, DEFAULT, head_dim=head_dim)
    assert found.expected - plain.expected == spilled * 2**20
    assert found.upper - plain.upper == spilled * 2**20


def test_zero_on_one_process_has_bytes_of_its_own() -> None:
    """DeepSpeed builds its communication for one process as well."""
    found = non_torch_interval(from_flat(TrainingSettings, zero_stage=2), 9, ROUND)
    assert found.expected == 1300


def test_the_process_has_reserved_bytes_and_those_outside() -> None:
    """Managed memory counts in the bound only: 200 + 20 + 5."""
    reserved, outside = Interval(expected=100, upper=200), Interval(expected=10, upper=20)
    found = process_interval(reserved, outside, 5, 9, ROUND)
    assert found == Interval(expected=110, upper=225)


def test_an_unmeasured_generation_doubles_the_bound_here() -> None:
    """The widening of this calibration is 2; probes on the machine scale both values."""
    reserved, outside = Interval(expected=100, upper=200), Interval(expected=10, upper=20)
    assert process_interval(reserved, outside, 0, 8, ROUND) == Interval(expected=110, upper=440)
    probed = replace(ROUND, device_factor=1.5)
    assert process_interval(reserved, outside, 0, 9, probed) == Interval(expected=165, upper=330)
