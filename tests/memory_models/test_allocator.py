"""From tensors to reserved bytes, and margins by recipe class."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.allocator import allocated_interval, margin, recipe_class, reserved_interval
from memory_models.calibration import DEFAULT, Margin
from memory_models.settings import FinetuningType, Quantization, TrainingSettings

MIB = 1024**2
HALF_MORE = replace(
    DEFAULT,
    allocated={"default": Margin(ratio=1.0, upper=1.5)},
    reserved={"default": Margin(ratio=1.25, upper=2.0)},
)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "adapter-plain-checkpointed"),
        ({"gradient_checkpointing": False}, "adapter-plain-kept"),
        ({"quantization": Quantization.NF4}, "adapter-quantized-checkpointed"),
        ({"finetuning_type": FinetuningType.FULL}, "weights-plain-checkpointed"),
        ({"world_size": 2}, "sharded"),
        ({"zero_stage": 2}, "sharded"),
    ],
)
def test_a_recipe_belongs_to_one_class(values: dict[str, object], name: str) -> None:
    """What is trained, on what base, checkpointed or not; several ranks apart."""
    assert recipe_class(TrainingSettings(**values)) == name  # type: ignore[arg-type]


def test_a_class_without_a_measurement_takes_the_default_margin() -> None:
    """One row a class, one for all others."""
    table = {
        "default": Margin(ratio=1.0, upper=2.0),
        "sharded": Margin(ratio=1.0, upper=3.0),
    }
    assert margin(table, TrainingSettings()).upper == 2.0
    assert margin(table, TrainingSettings(world_size=2)).upper == 3.0


def test_allocated_bytes_are_the_estimate_and_its_bound() -> None:
    """1000 bytes, bound half more."""
    found = allocated_interval(1000, TrainingSettings(), HALF_MORE)
    assert (found.expected, found.upper) == (1000, 1500)


def test_reserved_bytes_are_whole_segments() -> None:
    """4 MiB: a quarter more is 5, in 2-MiB segments 6; twice is 8."""
    found = reserved_interval(4 * MIB, TrainingSettings(), HALF_MORE)
    assert (found.expected, found.upper) == (6 * MIB, 8 * MIB)


@pytest.mark.parametrize("table", [DEFAULT.allocated, DEFAULT.reserved])
def test_every_measured_bound_is_above_its_median(table: dict[str, Margin]) -> None:
    """A calibration with a bound under its own expectation is a slip."""
    assert "default" in table
    assert all(0 < found.ratio <= found.upper for found in table.values())
