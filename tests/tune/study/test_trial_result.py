"""How trials ended, and what the end of a trial says of its settings."""

from __future__ import annotations

import pytest

from tsplanner.tune.study.trial_result import TrialState, state_of


@pytest.mark.parametrize("state", list(TrialState))
def test_state_is_read_back_as_it_was_written(state: TrialState) -> None:
    """Words of this version stand for themselves."""
    assert state_of(str(state)) is state


def test_unknown_state_is_an_error() -> None:
    """A word of a later version is not guessed at."""
    with pytest.raises(ValueError, match="asleep"):
        state_of("asleep")
