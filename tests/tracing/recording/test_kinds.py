"""Which layers are alike, and a model that has few of each kind."""

from __future__ import annotations

import pytest

pytest.importorskip("peft")

from memory_models.settings import TrainingSettings
from tests.support.strangers import config_of
from tsplanner.tracing.model import base_model
from tsplanner.tracing.recording.kinds import choose, keep_only
from tsplanner.tracing.records import Subject
from tsplanner.training.adapters import decoder_layers


def built(model_type: str, **more: object) -> object:
    """A small model on ``meta``."""
    config = {**config_of(model_type), **more}
    return base_model(Subject(config=config), TrainingSettings())


def test_equal_layers_are_one_kind_and_the_first_stands_alone() -> None:
    """Twelve layers: the first, and the second for all others."""
    found = choose(built("gpt2", n_layer=12))
    assert found.places == (0, 1, 2)
    assert found.pattern == (0, *[1] * 11)


def test_a_dense_layer_below_sparse_ones_is_a_kind() -> None:
    """DeepSeek: the dense layer is the first one anyway."""
    found = choose(built("deepseek_v2", num_hidden_layers=6))
    assert found.places == (0, 1, 2)
    assert found.pattern == (0, 2, 2, 2, 2, 2)


def test_a_small_model_has_the_chosen_layers_alone() -> None:
    """Its config counts them, so that the model's own loop runs them all."""
    model = built("gpt2", n_layer=12)
    keep_only(model, (0, 5, 6))
    _, layers = decoder_layers(model)
    assert len(layers) == 3
    assert model.config.num_hidden_layers == 3
