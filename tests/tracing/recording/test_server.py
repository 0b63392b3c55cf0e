"""The recording process answers every question with a record or a sentence."""

from __future__ import annotations

import pytest

pytest.importorskip("peft")

from memory_models.recorded.recording import recipe_of
from memory_models.settings import TrainingSettings
from tests.support.strangers import config_of
from tsplanner.tracing.recording.messages import Ask
from tsplanner.tracing.recording.server import answer
from tsplanner.tracing.records import Subject


def test_shapes_and_layers_of_one_model_are_answered() -> None:
    """The model is built once."""
    known: dict[str, object] = {}
    subject = Subject(config=config_of("gpt2"))
    shapes = answer(Ask(key="k", name="n", subject=subject), known)
    assert shapes.architecture is not None
    assert shapes.architecture.layer.recorded == "k"
    recipe = recipe_of(TrainingSettings().layer, masked=False)
    recording = answer(Ask(key="k", name="n", subject=subject, recipe=recipe), known).recording
    assert recording is not None
    assert len(recording.pattern) == 4
    assert list(known) == ["k"]


def test_a_model_that_cannot_be_built_is_one_sentence() -> None:
    """The installed transformers names what it does not know."""
    found = answer(Ask(key="k", name="n", subject=Subject(config={"model_type": "no-such"})), {})
    assert found.architecture is None
    assert "no model of type" in found.error
