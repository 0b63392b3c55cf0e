"""The function behind ``python -m tsplanner.training.worker JOB.json …``."""

from __future__ import annotations

from pathlib import Path

from tsplanner.training.worker import environment_variables


def main(arguments: list[str]) -> int:
    """Run the jobs of some job.json; 0 if all succeeded or were stopped, 1 otherwise."""
    environment_variables.set_defaults()
    from tsplanner.training.worker.execute import execute  # imports torch

    return execute([Path(argument) for argument in arguments])
