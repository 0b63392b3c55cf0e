"""What the recording process is asked and answers, one JSON line each; torch is not imported."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.frozen import frozen
from memory_models.recorded.recording import Recipe, Recording
from tsplanner.tracing.records import Subject

FORMAT = 2
"""Goes up when a recording of the same model means something else."""


@frozen
class Ask:
    """A question about one model: its shapes, or its layers under a recipe."""

    key: str
    """Key of the model; the answer's architecture carries it."""
    name: str
    """Name for people."""
    subject: Subject
    recipe: Recipe | None = None
    """None: the shapes are asked for."""


@frozen
class Answer:
    """The shapes, the recording, or one sentence that says why there is none."""

    architecture: Architecture | None = None
    recording: Recording | None = None
    error: str = ""
    lasting: bool = True
    """The answer is the same next time; without it, a package was missing or something broke."""
