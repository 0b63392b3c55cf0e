"""What is searched, and where the search starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import FinetuningType, changed
from tests.support import tiny
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.planner.advice import largest_rank, with_rank
from tsplanner.tune.search.encoding import encode_space
from tsplanner.tune.search.space import Space, default_space, narrowed, suggested_learning_rate
from tsplanner.tune.search.surrogate import Point

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


def test_baseline_is_the_plans_rate_at_the_largest_rank_that_fits(tmp_path: Path) -> None:
    """Rank 16 of 4, 8 and 16, or 8 if memory ends there; as many epochs as the range has."""
    plan = tiny.plan(tmp_path)
    where = encode_space(plan.learning, SPACE, 3e-3, lambda _: True)
    assert where.baseline.method.lora_rank == 16
    assert where.baseline.optimization.learning_rate == plan.learning.optimization.learning_rate
    assert where.baseline.optimization.num_train_epochs == 3
    tight = encode_space(
        plan.learning, SPACE, 3e-3, lambda learning: learning.method.lora_rank <= 8
    )
    assert tight.baseline.method.lora_rank == 8
    assert tight.space.lora_ranks == (4, 8)
    assert largest_rank(plan.learning, SPACE.lora_ranks, lambda _: False) == 4


def test_settings_are_points_and_back(tmp_path: Path) -> None:
    """A tenth of the centre's rate is one decade below, a quarter of the rank two halvings."""
    plan = tiny.plan(tmp_path)
    where = encode_space(plan.learning, SPACE, 1e-2, lambda _: True)
    found = where.settings(Point(log10_lr_offset=-1.0, log2_rank_offset=-2.0))
    assert found.optimization.learning_rate == pytest.approx(1e-3)
    assert found.method.lora_rank == 4
    assert found.method.alpha == 2 * found.method.lora_rank
    assert where.point(found) == Point(log10_lr_offset=-1.0, log2_rank_offset=-2.0)
    assert where.settings(where.grid.baseline) == where.baseline


def test_rank_list_that_cannot_fit_is_one_sentence(tmp_path: Path) -> None:
    """The ranks and the flag are named."""
    plan = tiny.plan(tmp_path)
    with pytest.raises(TsplannerError, match=r"ranks to search \(4, 8, 16\) none fits"):
        encode_space(plan.learning, SPACE, 1e-2, lambda _: False)


def test_alpha_follows_the_rank(tmp_path: Path) -> None:
    """Doubling the rank doubles a given alpha, and so does the default of twice the rank."""
    learning = changed(tiny.plan(tmp_path).learning, lora_rank=4, lora_alpha=12.0)
    assert with_rank(learning, 8).method.alpha == 24.0
    assert with_rank(changed(learning, lora_alpha=None), 8).method.alpha == 16.0
