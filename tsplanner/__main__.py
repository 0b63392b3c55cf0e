"""``python -m tsplanner``."""

from tsplanner.cli import run

run()
