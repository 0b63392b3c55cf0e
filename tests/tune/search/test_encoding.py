"""Learning settings as points of the surrogate, and points as settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import changed
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.planner.advice import largest_rank, with_rank
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.encoding import encode_space
from tsplanner.tune.search.space import Space
from tsplanner.tune.search.surrogate import Point

SPACE = Space(lora_ranks=(4, 8, 16), learning_rate=(1e-4, 1e-2), epochs=(1, 2, 3))


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


@given(
    st.floats(-3, 3),
    st.sampled_from([0.0, -1.0, -2.0]),
)
def test_any_point_gives_settings_inside_the_space(offset: float, halvings: float) -> None:
    """A rate beyond the range is the end of the range; alpha follows the rank."""
    where = encode_space(LearningSettings(), SPACE, 1e-3, lambda _: True)
    found = where.settings(Point(log10_lr_offset=offset, log2_rank_offset=halvings))
    assert SPACE.clamp(found) == found
    assert where.point(found).log2_rank_offset == halvings
    assert found.method.lora_rank == 16 * 2**halvings


@given(st.floats(-1, 1))
def test_a_rate_is_kept_to_six_digits(offset: float) -> None:
    """A person can copy the rate, and another machine computes the same one."""
    where = encode_space(LearningSettings(), SPACE, 1e-3, lambda _: True)
    rate = where.settings(
        Point(log10_lr_offset=offset, log2_rank_offset=0.0)
    ).optimization.learning_rate
    assert rate == float(f"{rate:.6g}")
    assert where.point(where.settings(where.grid.baseline)) == where.grid.baseline


def test_a_method_without_a_rank_is_searched_over_rates_alone() -> None:
    """The grid has one rank, and settings keep the rank that they had."""
    space = Space(lora_ranks=(), learning_rate=(1e-5, 1e-3), epochs=(1, 2))
    where = encode_space(LearningSettings(), space, 1e-4, lambda _: False)
    assert where.grid.log2_rank_offsets == (0.0,)
    found = where.settings(Point(log10_lr_offset=-0.5))
    assert found.method == where.baseline.method
    assert found.optimization.num_train_epochs == 2
