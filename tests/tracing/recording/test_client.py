"""The parent's side: one process for all questions, and none for what was answered before."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("peft")

from memory_models.recorded.recording import recipe_of
from memory_models.settings import TrainingSettings
from tests.support.strangers import config_of
from tsplanner.errors import TsplannerError
from tsplanner.tracing.recording.client import Recordings, config_key


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of its own."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_answers_are_kept_for_the_next_command(state: Path) -> None:
    """The second time no process is started, and the first tells why one waits."""
    config, told = config_of("gpt2"), []
    first = Recordings(tell=told.append)
    shapes = first.architecture(config, name="mine", folder=None)
    recipe = recipe_of(TrainingSettings().layer, masked=False)
    recording = first.source(config, folder=None)(recipe)
    assert first.process is not None
    first.close()
    assert len(told) == 1
    second = Recordings(tell=told.append)
    assert second.architecture(config, name="mine", folder=None) == shapes
    assert second.source(config, folder=None)(recipe).pattern == recording.pattern
    assert second.process is None
    assert len(told) == 1


@pytest.mark.slow
def test_a_refusal_is_kept_too(state: Path) -> None:
    """Another plan must not wait for the same sentence."""
    for _ in range(2):
        client = Recordings()
        with pytest.raises(TsplannerError, match="no model of type"):
            client.architecture({"model_type": "no-such"}, name="mine", folder=None)
        client.close()
    assert len(list(state.rglob("shapes.json"))) == 1


def test_a_key_is_that_of_the_config_alone() -> None:
    """Two folders of one model share their recordings."""
    config = config_of("gpt2")
    assert config_key(config, "/a") == config_key(dict(reversed(config.items())), "/b")
    assert config_key(config, None) != config_key({**config, "n_layer": 5}, None)


@pytest.mark.slow
def test_layers_that_cannot_be_recorded_are_an_error_for_people_and_for_the_core(
    state: Path,
) -> None:
    """The core catches ValueError, and the command line tells TsplannerError in one sentence."""
    client = Recordings()
    recipe = recipe_of(TrainingSettings().layer, masked=False)
    with pytest.raises(TsplannerError, match="no model of type") as caught:
        client.source({"model_type": "no-such"}, folder=None)(recipe)
    client.close()
    assert isinstance(caught.value, ValueError)
