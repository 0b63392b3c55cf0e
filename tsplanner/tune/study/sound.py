"""Which parts of a stored study can be used, after a crash or an editor damaged it.

A damaged trial is left out: the others are finished work, and a search goes on without it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from tsplanner.tune.study.trial_result import TrialState, state_of, stored_deficit

LARGEST_PARAMETER = 10**9
"""Above every rank, rate and number of epochs of a search."""


def is_sound(
    attributes: Mapping[str, Any],
    parameters: Mapping[str, Any],
    names: Collection[str],
    *,
    finished: bool,
) -> bool:
    """Whether a stored trial holds what a search reads of it.

    ``names``: the parameters that a trial has once it is given any.
    """
    seed, told = attributes.get("seed"), attributes.get("state")
    if (seed is not None and not _is_whole(seed)) or not _are_settings(parameters, names):
        return False
    if told is None:
        return True
    return bool(parameters) and _is_outcome(attributes) and (finished or _has_end(attributes))


def _are_settings(parameters: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether there are no parameters yet, or all of them with values that settings can have."""
    return not parameters or all(_is_setting(name, parameters.get(name)) for name in names)


def _is_setting(name: str, value: Any) -> bool:
    if name != "learning_rate" and not _is_whole(value):
        return False
    return _is_number(value) and 0 < value <= LARGEST_PARAMETER


def _is_outcome(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes say how a trial ended."""
    loss, message = attributes.get("eval_loss"), attributes.get("message", "")
    try:
        state = state_of(attributes["state"])
        deficit = stored_deficit(attributes.get("behind"))
    except (ValueError, TypeError, LookupError):
        return False
    if deficit is not None:
        figures = (deficit.difference, deficit.error)
        if not _is_whole(deficit.rival) or not all(map(_is_number, figures)):
            return False
    if not isinstance(message, str) or (loss is not None and not _is_number(loss)):
        return False
    return loss is not None or state is not TrialState.COMPLETED


def _has_end(attributes: Mapping[str, Any]) -> bool:
    """Whether Optuna can still be told of the end."""
    return attributes.get("ends as") in ("COMPLETE", "PRUNED", "FAIL")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number; Optuna stores some as floats."""
    return _is_number(value) and value == int(value)
