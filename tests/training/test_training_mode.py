"""Training mode is set where it does not hold, and no module is visited where it does."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tsplanner.training.training_mode import TrainingMode  # noqa: E402


class Counting(nn.Linear):
    """Notes how often it is visited."""

    visits = 0

    def train(self, mode: bool = True) -> Counting:
        """As any module."""
        self.visits += 1
        super().train(mode)
        return self


def test_a_model_that_trains_is_not_visited_and_any_other_one_is() -> None:
    """One module in evaluation mode, however deep, is enough for the model's own walk."""
    inner = Counting(2, 2)
    model = nn.Sequential(nn.Sequential(inner), nn.Dropout(0.5))
    mode = TrainingMode(model)
    with mode.kept():
        assert model.train() is model
    assert inner.visits == 0
    inner.training = False
    with mode.kept():
        assert inner.training
    assert inner.visits == 1


def test_evaluation_within_it_is_evaluation_and_nothing_stays_behind() -> None:
    """A model that is told to evaluate does, and its own method is back afterwards."""
    model = nn.Sequential(nn.Dropout(0.5))
    mode = TrainingMode(model)
    with mode.kept():
        model.eval()
        assert not model[0].training
    assert "train" not in model.__dict__
    with pytest.raises(RuntimeError), mode.kept():
        raise RuntimeError
    assert "train" not in model.__dict__
