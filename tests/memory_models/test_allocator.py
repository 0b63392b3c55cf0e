"""From tensors to reserved bytes, and margins by recipe class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import pytest

from memory_models.allocator import allocated_interval, margin, recipe_class, reserved_interval
from memory_models.calibration import DEFAULT, Margin
from memory_models.settings import (
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    TrainingSettings,
)

MIB = 1024**2
SHARES = replace(
    DEFAULT,
    allocated={"default": Margin(expected=0.0, upper=0.5)},
    reserved={"default": Margin(expected=0.25, upper=1.0)},
)
PLAIN = TrainingSettings()
APART = (
    PLAIN,
    TrainingSettings(gradient_checkpointing=False),
    TrainingSettings(quantization=Quantization.NF4),
    TrainingSettings(finetuning_type=FinetuningType.FULL),
    TrainingSettings(loss_kernel=LossKernel.FUSED),
    TrainingSettings(world_size=2),
)


@pytest.mark.parametrize(("one", "other"), list(combinations(APART, 2)))
def test_recipes_that_fragment_differently_are_measured_apart(
    one: TrainingSettings, other: TrainingSettings
) -> None:
    """What is trained, on what base, kept or checkpointed, by which loss, on how many ranks."""
    assert recipe_class(one) != recipe_class(other)


@pytest.mark.parametrize(
    "alike",
    [
        {"lora_rank": 64},
        {"sequence_length": 8192},
        {"micro_batch_size": 4},
        {"finetuning_type": FinetuningType.RSLORA},
        {"optimizer": Optimizer.SGD},
    ],
)
def test_sizes_do_not_make_another_class(alike: dict[str, object]) -> None:
    """A margin holds for a kind of recipe, whatever its sizes."""
    assert recipe_class(replace(PLAIN, **alike)) == recipe_class(PLAIN)  # type: ignore[arg-type]


def test_a_class_without_a_measurement_takes_the_default_margin() -> None:
    """One row a class, one for all others."""
    sharded = TrainingSettings(world_size=2)
    table = {
        "default": Margin(expected=0.0, upper=2.0),
        recipe_class(sharded): Margin(expected=0.0, upper=3.0),
    }
    assert margin(table, PLAIN).upper == 2.0
    assert margin(table, sharded).upper == 3.0


def test_a_margin_is_a_share_of_what_is_not_persistent() -> None:
    """1000 bytes, 400 of them transient: nothing expected beyond, at most half of the 400."""
    found = allocated_interval(1000, 400, PLAIN, SHARES)
    assert (found.expected, found.upper) == (1000, 1200)


def test_persistent_bytes_have_no_margin() -> None:
    """Weights and states are counted, not estimated."""
    found = allocated_interval(1000, 0, PLAIN, SHARES)
    assert (found.expected, found.upper) == (1000, 1000)


def test_reserved_bytes_are_whole_segments() -> None:
    """6 MiB, 4 of them transient: a quarter of 4 more is 7, in 2-MiB segments 8; all of 4: 10."""
    found = reserved_interval(6 * MIB, 4 * MIB, PLAIN, SHARES)
    assert (found.expected, found.upper) == (8 * MIB, 10 * MIB)


@pytest.mark.parametrize("table", [DEFAULT.allocated, DEFAULT.reserved])
def test_every_measured_bound_is_above_its_median(table: Mapping[str, Margin]) -> None:
    """A calibration with a bound under its own expectation is a slip."""
    assert "default" in table
    assert all(found.expected <= found.upper for found in table.values())
