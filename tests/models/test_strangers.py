"""Models without a reader are described by whoever was named for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.architecture import Architecture
from memory_models.recorded.recording import Recipe, Recording, Source, is_known, recording
from memory_models.symbolic import Size
from tsplanner.models import strangers
from tsplanner.models.source import read_model

RECORDING = Recording(layers=(), pattern=(), stream=Size())


class Describer:
    """Describes every model as the same one."""

    def architecture(self, config: object, *, name: str, folder: str | None) -> Architecture:
        """SmolLM2 under the key of this test."""
        found = read_model("smollm2-135m").architecture
        return replace(found, name=name, layer=replace(found.layer, recorded=f"of {name}"))

    def source(self, config: object, *, folder: str | None) -> Source:
        """One recording for every recipe."""

        def record(recipe: Recipe) -> Recording:
            return RECORDING

        return record


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is named before and after a test."""
    monkeypatch.setattr(strangers, "_DESCRIBERS", [])


def test_without_a_describer_there_is_no_description() -> None:
    """The reader's own refusal stands then."""
    assert strangers.architecture({}, name="x", folder=None) is None


def test_a_description_comes_with_its_recordings() -> None:
    """Their source is known under the architecture's key."""
    strangers.use(Describer)
    found = strangers.architecture({}, name="first", folder=None)
    assert found is not None
    assert is_known("of first")


def test_a_plan_that_was_read_finds_its_recordings_when_it_needs_them() -> None:
    """Until then nobody is asked."""
    made: list[Describer] = []

    def make() -> Describer:
        made.append(Describer())
        return made[-1]

    strangers.use(make)
    found = Describer().architecture({}, name="read", folder=None)
    strangers.remember(found, {}, folder=None)
    assert is_known("of read")
    assert not made
    from memory_models.recorded.recording import recipe_of
    from memory_models.settings import TrainingSettings

    recipe = recipe_of(TrainingSettings().layer, masked=False)
    assert recording("of read", recipe) is RECORDING
    assert len(made) == 1
