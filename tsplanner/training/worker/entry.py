"""The function behind ``python -m tsplanner.training.worker JOB.json … [--trust-remote-code]``."""

from __future__ import annotations

from pathlib import Path

from tsplanner.training.worker import environment_variables
from tsplanner.trust import FLAG, granting


def main(arguments: list[str]) -> int:
    """Run the jobs of some job.json; 0 if all succeeded or were stopped, 1 otherwise."""
    environment_variables.set_defaults()
    from tsplanner.training.worker.execute import execute  # imports torch

    with granting(FLAG in arguments):
        return execute([Path(argument) for argument in arguments if argument != FLAG])
