"""One model without a reader: its shapes, and its layers recipe by recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memory_models.architecture import Architecture
from memory_models.recorded.recording import Recipe, Recording
from memory_models.settings import Attention, TrainingSettings
from tsplanner.tracing.model import base_model
from tsplanner.tracing.recording.describe import describe
from tsplanner.tracing.recording.kinds import Chosen, choose
from tsplanner.tracing.recording.record import UNIT, Recorder
from tsplanner.tracing.records import Subject
from tsplanner.training.language_model import text_config

WINDOWS = ("sliding_window", "attention_chunk_size")
"""Keys of a config that limit what attention sees; by default a layer sees everything."""
NO_WINDOW = 1 << 20
"""Tokens of a window that no recorded row reaches."""
POSITIONS = ("n_positions", "max_position_embeddings", "n_ctx", "max_seq_len")
"""Keys of a config that limit the length of a row."""
LONGEST = 5
"""Multiples of the shortest row that the longest recorded row may have."""


class Stranger:
    """A model that is described and recorded."""

    def __init__(self, subject: Subject) -> None:
        """Raises TsplannerError if the installed transformers cannot build it."""
        self.subject = subject
        self.model: Any = base_model(subject, TrainingSettings())
        self.chosen: Chosen = choose(self.model)
        self.recorders: dict[bool, Recorder] = {}

    def describe(self, name: str, key: str) -> Architecture:
        """Its shapes."""
        found = describe(self.model, name, key)
        # sdpa was asked for, and a family without it is built with eager attention.
        built = text_config(self.model.config)._attn_implementation
        eager = replace(found.attention, eager_only=built == Attention.EAGER.value)
        return replace(found, attention=eager)

    def record(self, recipe: Recipe) -> Recording:
        """Its layers under a recipe; raises TsplannerError if they cannot be recorded."""
        recorder = self.recorders.get(recipe.masked)
        if recorder is None:
            subject = recordable(self.subject, UNIT // 2 if recipe.masked else NO_WINDOW)
            recorder = self.recorders[recipe.masked] = Recorder(subject, self.chosen)
        return recorder.record(recipe)


def recordable(subject: Subject, window: int) -> Subject:
    """The subject with every attention window of its config set to ``window`` tokens.

    A table of positions gets as many as the longest recorded row: no layer's bytes depend on it.
    """

    def changed(config: dict[str, object]) -> dict[str, object]:
        found = dict(config)
        for key, value in config.items():
            if key in WINDOWS and isinstance(value, int):
                found[key] = window
            elif key in POSITIONS and isinstance(value, int):
                found[key] = max(value, LONGEST * UNIT)
            elif key == "text_config" and isinstance(value, dict):
                found[key] = changed(value)
        return found

    return replace(subject, config=changed(subject.config))
