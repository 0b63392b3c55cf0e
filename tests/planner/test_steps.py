"""Steps and samples a second: the trainer's own rounding, held to six recorded runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.planner.steps import Rounding, rounding_of, samples_per_second, steps_per_epoch


@pytest.mark.parametrize(
    ("version", "rounding"),
    [
        ("4.48.3", "floor"),
        ("4.51.3", "floor"),
        ("4.52.4", "ceil"),
        ("4.57.3", "ceil"),
        ("5.0.0", "ceil"),
    ],
)
def test_trainers_up_to_4_51_drop_the_incomplete_step(version, rounding):
    """Later ones make a smaller last step of what is left of an epoch."""
    assert rounding_of(version) == rounding


@pytest.mark.parametrize(
    ("rows", "micro", "ranks", "accumulation", "rounding", "steps"),
    [
        (418, 1, 2, 16, "floor", 13),
        (418, 1, 2, 16, "ceil", 14),
        (414, 1, 2, 16, "floor", 12),
        (414, 1, 2, 8, "ceil", 26),
        (414, 1, 1, 8, "ceil", 52),
        (414, 2, 2, 4, "ceil", 26),
        (3, 1, 2, 16, "floor", 1),
        (0, 1, 1, 1, "ceil", 1),
    ],
)
def test_steps_of_an_epoch(rows, micro, ranks, accumulation, rounding, steps):
    """418 rows on two cards are 209 micro-batches: 13 steps of 16 and one of a single one."""
    found = steps_per_epoch(
        rows,
        micro_batch_size=micro,
        world_size=ranks,
        gradient_accumulation_steps=accumulation,
        rounding=Rounding(rounding),
    )

    assert found == steps


@given(st.integers(1, 5000), st.integers(1, 8), st.integers(1, 8), st.integers(1, 64))
def test_rounded_up_steps_depend_on_the_effective_batch_alone(rows, micro, ranks, accumulation):
    """However a batch is split over cards and accumulation, our trainer makes the same steps."""
    found = steps_per_epoch(
        rows, micro_batch_size=micro, world_size=ranks, gradient_accumulation_steps=accumulation
    )

    assert found == -(-rows // (micro * ranks * accumulation))


def test_samples_per_second_count_every_row_of_every_epoch():
    """Also those that a trainer which rounds down never makes a step of."""
    assert samples_per_second(400, 3, 600.0) == 2.0
