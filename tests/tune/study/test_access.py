"""Operations on a study whose storage goes away, for a while or for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.study_worker import ended, opened
from tsplanner.tune.study.access import StorageGone
from tsplanner.tune.study.study import Study


@contextmanager
def away(study: Study) -> Iterator[list[str]]:
    """Let every operation on the storage fail as a dead disk does."""
    backend = study.storage.storage._backend
    append, tried = backend.append_logs, []

    def fails(_: object) -> None:
        tried.append("append")
        raise OSError(5, "Input/output error")

    backend.append_logs = fails
    try:
        yield tried
    finally:
        backend.append_logs = append


@pytest.mark.slow
def test_storage_that_is_away_for_a_while_is_waited_for(folder: Path) -> None:
    """A trial's end is told as soon as the storage is back."""
    study = opened(folder)
    proposal = study.ask()
    study.access.patience = 30.0
    with away(study):
        study.report(proposal, 2.0, 1)  # kept for later
        thread = threading.Thread(target=study.tell, args=(proposal, ended(0, proposal.learning)))
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive()
    thread.join(timeout=10)
    assert study.results() == [ended(0, proposal.learning)]
    assert study.queue.trials()[0].intermediate_values == {1: 2.0}


def test_storage_that_stays_away_ends_in_a_sentence_and_loses_no_result(folder: Path) -> None:
    """How to go on is named; what had ended is told by the resumed search."""
    study = opened(folder)
    proposal = study.ask()
    study.access.patience = 0.3
    with away(study), pytest.raises(StorageGone) as told:
        study.tell(proposal, ended(0, proposal.learning))
    assert "was away for 0 s ([Errno 5] Input/output error)" in str(told.value)
    assert f"tsplanner tune --run-folder {folder} --resume" in str(told.value)
    after = opened(folder)
    after.workers.lead()
    assert after.results() == [ended(0, proposal.learning)]
