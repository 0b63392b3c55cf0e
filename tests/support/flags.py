"""Words of a command line as the flags that verbs share read them."""

from __future__ import annotations

import argparse

from tsplanner.commands.inputs.hardware_flags import add_pins
from tsplanner.commands.inputs.learning_flags import add_learning
from tsplanner.commands.inputs.options import add_force_argument, add_plan_argument, add_subject


def parsed(*words: str) -> argparse.Namespace:
    """All shared flags, read from these words."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for add in (add_subject, add_learning, add_pins, add_plan_argument, add_force_argument):
        add(parser)
    return parser.parse_args(list(words))
