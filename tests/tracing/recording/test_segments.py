"""Where a layer begins and ends among the events of a run."""

from __future__ import annotations

import pytest

pytest.importorskip("peft")

from memory_models.recorded.recording import recipe_of
from memory_models.settings import TrainingSettings
from tests.support.strangers import config_of
from tsplanner.tracing.fake_cuda.cuda_rules import use_cuda_casts
from tsplanner.tracing.fake_cuda.shapes import drop_values
from tsplanner.tracing.model import build
from tsplanner.tracing.recording.fit import Point
from tsplanner.tracing.recording.record import Run, training_settings
from tsplanner.tracing.records import Subject


@pytest.mark.parametrize("checkpointed", [False, True])
def test_layers_follow_each_other_forward_and_backward(checkpointed: bool) -> None:
    """Four layers: forward from the first to the last, backward from the last to the first."""
    recipe = recipe_of(TrainingSettings().layer, masked=False)
    settings = training_settings(recipe, Point(1, 64))
    if not checkpointed:
        settings = training_settings(
            recipe_of(TrainingSettings().layer.without_checkpoint, masked=False), Point(1, 64)
        )
    use_cuda_casts()
    model = build(Subject(config=config_of("gpt2")), settings, 3)
    drop_values(model)
    for programs in Run(model, settings).programs:
        found = programs.found
        assert len(found.forward) == 5
        assert found.forward == sorted(found.forward)
        begins = [found.backward[place] for place in (3, 2, 1, 0)]
        assert begins == sorted(begins)
        assert found.begin < found.forward[0] < found.between < begins[0] < found.end
