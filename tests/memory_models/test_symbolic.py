"""Sizes as linear functions, and what tensors on a tape are made of."""

from __future__ import annotations

from memory_models.symbolic import (
    ALLOC,
    FREE,
    ZERO,
    Size,
    Storage,
    Value,
    Weight,
    left_over,
    times,
    total,
)

ONE, TWO = Size(per_token=1, constant=2, per_unit=3), Size(per_token=10, constant=20)


def test_sizes_are_multiplied_and_summed_part_by_part() -> None:
    """Per token, constant and per unit."""
    assert times(ONE, 4) == Size(per_token=4, constant=8, per_unit=12)
    assert total((ONE, TWO, ONE)) == Size(per_token=12, constant=24, per_unit=6)
    assert total(()) == ZERO


def test_what_is_left_over_brings_the_live_tensors_to_those_that_are_saved() -> None:
    """Two of one size live and one saved: one is freed; one that is saved and gone comes back."""
    events = [(ALLOC, ONE), (ALLOC, ONE), (ALLOC, TWO), (FREE, TWO), (ALLOC, ZERO)]
    assert left_over(events, [ONE]) == [(FREE, ONE)]
    assert left_over(events, [ONE, ONE, TWO]) == [(ALLOC, TWO)]
    assert left_over(events, [ONE, ONE]) == []


def test_a_value_has_the_bytes_of_its_own_elements() -> None:
    """A view of fp32 elements is smaller than the storage that it shares."""
    value = Value(Storage(times(TWO, 4)), Size(per_token=5), 4, needs=True)
    assert value.size == Size(per_token=20)
    assert value.storage.size == Size(per_token=40, constant=80)
    assert value.storage.holders == 1


def test_a_weights_gradient_comes_in_one_dtype_and_stays_in_another() -> None:
    """100 elements: 200 bytes from the product in bf16, 400 in the fp32 of the parameter."""
    weight = Weight(elements=100, operand=2, stored=4)
    assert (weight.fresh, weight.final) == (Size(constant=200), Size(constant=400))
