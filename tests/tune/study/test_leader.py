"""Which worker leads a study, and how many trials the workers run together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.study_processes import worker
from tests.support.study_worker import opened
from tsplanner.errors import TsplannerError


def test_leader_that_was_killed_is_followed_by_one_that_resumes(folder: Path) -> None:
    """While the first one lives a second leader is refused; killed, it takes over."""
    with worker(folder, "lead", "4") as first:
        with pytest.raises(TsplannerError, match=f":{first.pid} leads the search .* --join"):
            opened(folder).workers.lead()
        first.kill()
        first.wait()
        study = opened(folder)
        assert study.workers.leader is None
        study.workers.lead()
        assert study.workers.leader == f"{study.workers.name}"


def test_resumed_search_keeps_its_number_of_trials(folder: Path) -> None:
    """The number is the search's own; naming another one changes it for good."""
    assert opened(folder).workers.total(6, given=False) == 6
    assert opened(folder).workers.total(8, given=False) == 6
    assert opened(folder).workers.total(12, given=True) == 12
    assert opened(folder).workers.total(8, given=False) == 12
