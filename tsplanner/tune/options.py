"""What a person asks of a search."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.runs import SAVES
from tsplanner.training.job import SampledAnswers

TRIALS = 8
"""Number of trials of a search that has neither a number nor a budget."""


@frozen
class SpaceOptions:
    """Ranges of the search space as text; None: by method, model and rows."""

    lora_rank: str | None = None
    learning_rate: str | None = None
    epochs: str | None = None


@frozen
class SearchLocation:
    """Where a search starts from, and where it is kept."""

    plan_path: Path | None = None
    """None: the newest plan under ``saves``."""
    saves: Path = SAVES
    run_folder: Path | None = None
    """None: a new folder; of a resumed search the newest one."""
    resume: bool = False
    """Go on with a search that was cut off."""
    storage: str | None = None
    """URL of the database that keeps the study; None: a journal in the run folder."""


@frozen
class TuneOptions:
    """What a person asks of a search."""

    location: SearchLocation = field(default_factory=SearchLocation)
    space: SpaceOptions = field(default_factory=SpaceOptions)
    trials: int | None = None
    """Number of trials; None: a resumed search keeps its number, a new one has TRIALS."""
    budget_seconds: float | None = None
    """Seconds of everything; None: no limit."""
    jobs: int | None = None
    """Number of slots; None: by the machine."""
    concurrent_loras: int | None = None
    """Number of trials that share one base; None: the number that pays most, 1: none share."""
    force: bool = False
    """Search even where less memory is free than the plan needs, or files changed since."""
    random_weights: bool = False
    """Train a model that has no weights from random ones."""
    report_to: tuple[str, ...] = ()
    """Trackers that the full run reports to."""
    samples: SampledAnswers | None = None
    """Held-out rows that the full run answers after each evaluation; None: none."""
