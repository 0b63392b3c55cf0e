"""What is searched, and which ranges a person may give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import FinetuningType, changed
from tests.support import tiny
from tsplanner.errors import UsageError
from tsplanner.tune.search.space import (
    GIVEN,
    Space,
    default_space,
    kept_as_given,
    narrowed,
    suggested_learning_rate,
)

SPACE = Space(lora_ranks=(4, 8, 16), learning_rate=(1e-4, 1e-2), epochs=(1, 2, 3))


def test_plan_is_inside_its_own_space(tmp_path: Path) -> None:
    """Rank 4, the plan's rate and its 2 epochs can be proposed."""
    plan = tiny.plan(tmp_path)
    space = default_space(plan, suggested_learning_rate(plan))
    assert space.clamp(plan.learning) == plan.learning
    assert space.lora_ranks == (4, 8, 16, 32)
    assert space.epochs == (1, 2, 3)


def test_large_dataset_is_searched_over_fewer_epochs(tmp_path: Path) -> None:
    """A hundred thousand rows are passed once, or as often as the plan says."""
    plan = tiny.plan(tmp_path)
    plan = replace(plan, dataset=changed(plan.dataset, rows_kept=100_000))
    assert default_space(plan, 1e-3).epochs == (1, 2)


def test_full_fine_tuning_has_no_rank_to_search(tmp_path: Path) -> None:
    """Without an adapter the rank is no axis, and asking for one is an error."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=FinetuningType.FULL)
    space = default_space(plan, 1e-4)
    assert space.lora_ranks == ()
    with pytest.raises(UsageError, match="no adapter"):
        narrowed(space, lora_ranks="4,8")


def test_ranges_of_the_user_replace_the_defaults() -> None:
    """Lists and ranges are read as written."""
    found = narrowed(SPACE, lora_ranks="32,8", learning_rate="1e-5..1e-3", epochs="2")
    assert found == Space(lora_ranks=(8, 32), learning_rate=(1e-5, 1e-3), epochs=(2,))
    assert narrowed(SPACE, learning_rate="3e-4").learning_rate == (3e-4, 3e-4)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"learning_rate": "fast"}, "range like"),
        ({"learning_rate": "1e-3..1e-5"}, "not a range"),
        ({"lora_ranks": "four"}, "whole numbers"),
        ({"epochs": "0,1"}, "at least 1"),
    ],
)
def test_range_that_is_none_is_refused_by_name(flags: dict[str, str], words: str) -> None:
    """The flag and its form are in the message."""
    with pytest.raises(UsageError, match=words):
        narrowed(SPACE, **flags)


def test_what_was_given_to_plan_is_kept(tmp_path: Path) -> None:
    """Each given setting has one value; the others are searched as ever."""
    plan = tiny.plan(tmp_path)
    learning = changed(plan.learning, lora_rank=4, learning_rate=2e-3, num_train_epochs=1)
    space = default_space(replace(plan, learning=learning), 3e-3)
    for name in GIVEN:
        found = kept_as_given(space, replace(learning, given=(name,)))
        assert (found.lora_ranks == (4,)) is (name == "lora_rank")
        assert (found.learning_rate == (2e-3, 2e-3)) is (name == "learning_rate")
        assert (found.epochs == (1,)) is (name == "num_train_epochs")
    assert kept_as_given(space, learning) == space


def test_a_number_of_steps_leaves_no_epochs_to_search(tmp_path: Path) -> None:
    """They decide nothing then; part of an epoch was given to plan, and is alone."""
    plan = tiny.plan(tmp_path)
    counted = changed(plan.learning, max_steps=7)
    space = default_space(replace(plan, learning=counted), 3e-3)
    assert len(space.epochs) > 1
    assert kept_as_given(space, counted).epochs == (2,)
    part = replace(changed(plan.learning, num_train_epochs=0.5), given=("num_train_epochs",))
    found = default_space(replace(plan, learning=part), 3e-3)
    assert found.epochs == kept_as_given(found, part).epochs == (0.5,)
    with pytest.raises(UsageError, match="--epochs must be whole numbers"):
        replace(space, epochs=(0.5, 1))
