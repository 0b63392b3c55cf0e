"""The worker's entry point: ``python -m tsplanner.training.worker JOB.json …``."""

from __future__ import annotations

import sys
from pathlib import Path

from tsplanner.training import environment_variables


def main(arguments: list[str]) -> int:
    """Run the jobs of some job.json; 0 if all ended well (or were stopped), 1 otherwise."""
    environment_variables.set_defaults()
    from tsplanner.training.execute import execute  # imports torch

    return execute([Path(argument) for argument in arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
