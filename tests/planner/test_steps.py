"""Steps and samples a second: the trainer's own rounding, held to six recorded runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import from_flat
from tsplanner.planner.settings import LearningSettings
from tsplanner.planner.steps import (
    Rounding,
    checkpoints,
    epochs_of,
    eval_steps,
    evaluations,
    every,
    rounding_of,
    samples_per_second,
    steps_per_epoch,
    total_steps,
    warmup_steps,
)


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


@pytest.mark.parametrize(
    ("given", "steps", "epochs"),
    [
        ({"num_train_epochs": 3}, 15, 3),
        # Half of five steps is rounded up, as Trainer does.
        ({"num_train_epochs": 0.5}, 3, 0.5),
        ({"num_train_epochs": 3, "max_steps": 7}, 7, 1.4),
        ({"num_train_epochs": 1, "max_steps": 12}, 12, 2.4),
    ],
)
def test_a_number_of_steps_decides_before_the_epochs(
    given: dict[str, float], steps: int, epochs: float
) -> None:
    """Of five steps per epoch."""
    learning = from_flat(LearningSettings, **given)
    assert total_steps(learning, 5) == steps
    assert epochs_of(learning, 5) == pytest.approx(epochs)


def test_warm_up_is_a_number_of_steps_or_a_share_of_them() -> None:
    """3 % of 40 steps are 1.2, and a warm-up has whole steps; a number goes before the share."""
    assert warmup_steps(LearningSettings(), 40) == 2
    assert warmup_steps(from_flat(LearningSettings, warmup_ratio=0.0), 40) == 0
    assert warmup_steps(from_flat(LearningSettings, warmup_steps=9), 40) == 9
    assert warmup_steps(from_flat(LearningSettings, warmup_steps=0), 40) == 0


def test_evaluations_and_checkpoints_come_by_epoch_or_by_steps() -> None:
    """13 steps of 5 per epoch: at 5, 10 and 13; every 4 steps: at 4, 8, 12 and 13."""
    by_epoch = from_flat(LearningSettings, max_steps=13)
    assert (evaluations(by_epoch, 5), checkpoints(by_epoch, 5)) == (3, 3)
    by_steps = from_flat(LearningSettings, max_steps=13, eval_steps=4, save_steps=13)
    assert (evaluations(by_steps, 5), checkpoints(by_steps, 5)) == (4, 1)
    assert sorted(every(4, 13)) == [4, 8, 12, 13]
    assert sorted(every(4, 12)) == [4, 8, 12]
    assert sorted(every(99, 12)) == [12]


def test_evaluations_are_spread_evenly_and_end_each_epoch() -> None:
    """Two epochs of 5 steps with two evaluations each: steps 2, 5, 7 and 10."""
    assert sorted(eval_steps(10, 5, 2)) == [2, 5, 7, 10]
    assert sorted(eval_steps(3, 3, 1)) == [3]
    assert sorted(eval_steps(1, 1, 6)) == [1]


@given(steps=st.integers(1, 60), epoch=st.integers(1, 20), evals=st.integers(1, 8))
def test_evaluations_lie_within_the_run_and_end_it(steps: int, epoch: int, evals: int) -> None:
    """Never before the first step, always after the last of every epoch."""
    found = eval_steps(steps, epoch, evals)
    assert all(1 <= step <= steps for step in found)
    assert {min(steps, (number + 1) * epoch) for number in range(-(-steps // epoch))} <= found
    assert len(found) <= evals * -(-steps // epoch)
