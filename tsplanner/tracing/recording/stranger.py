"""One model without a reader: its shapes, and its layers recipe by recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memory_models.architecture import Architecture
from memory_models.recorded.recording import Recipe, Recording
from memory_models.settings import Attention, Kernels, TrainingSettings
from tsplanner.errors import TsplannerError
from tsplanner.tracing.model import base_model
from tsplanner.tracing.recording.describe import describe
from tsplanner.tracing.recording.kinds import Chosen, choose
from tsplanner.tracing.recording.record import UNIT, Recorder
from tsplanner.tracing.records import Subject

WINDOWS = ("sliding_window", "attention_chunk_size")
"""Keys of a config that limit what attention sees; by default a layer sees everything."""
NO_WINDOW = 1 << 20
"""Tokens of a window that no recorded row reaches."""
LONGEST = 5
"""Multiples of the shortest row that the longest recorded row may have."""
STEP = 16
"""Rows are of so many tokens or a multiple, since kernels round the rows of scores up."""


class Stranger:
    """A model that is described and recorded."""

    def __init__(self, subject: Subject) -> None:
        """Raises TsplannerError if the installed transformers cannot build it."""
        self.subject = subject
        self.eager_only = False
        model = self._built()
        self.chosen: Chosen = choose(model)
        self.model: Any = model
        self.recorders: dict[bool, Recorder] = {}

    def _built(self) -> Any:
        try:
            return base_model(self.subject, TrainingSettings())
        except TsplannerError:
            # Some families run no sdpa; one that cannot be built at all fails here again.
            self.eager_only = True
            eager = TrainingSettings(kernels=Kernels(attention=Attention.EAGER))
            return base_model(self.subject, eager)

    def describe(self, name: str, key: str) -> Architecture:
        """Its shapes."""
        found = describe(self.model, name, key)
        attention = replace(found.attention, eager_only=self.eager_only)
        return replace(found, attention=attention)

    def record(self, recipe: Recipe) -> Recording:
        """Its layers under a recipe; raises TsplannerError if they cannot be recorded."""
        recorder = self.recorders.get(recipe.masked)
        if recorder is None:
            tokens = UNIT // 2 if recipe.masked else NO_WINDOW
            subject = with_window(self.subject, tokens)
            recorder = self.recorders[recipe.masked] = Recorder(subject, self.chosen, self._unit())
        return recorder.record(recipe)

    def _unit(self) -> int:
        """Tokens of the shortest row: fewer where the model learned few positions."""
        positions = describe(self.model, "", "").positions
        most = positions.max_position_embeddings
        if not positions.learned_position_count or most >= LONGEST * UNIT:
            return UNIT
        return max(STEP, most // LONGEST // STEP * STEP)


def with_window(subject: Subject, tokens: int) -> Subject:
    """The subject with every attention window of its config set to ``tokens``."""

    def changed(config: dict[str, object]) -> dict[str, object]:
        found = dict(config)
        for key, value in config.items():
            if key in WINDOWS and isinstance(value, int):
                found[key] = tokens
            elif key == "text_config" and isinstance(value, dict):
                found[key] = changed(value)
        return found

    return replace(subject, config=changed(subject.config))
