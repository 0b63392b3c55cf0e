"""Operations on a study whose storage goes away, for a while or for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.study_worker import ended, opened
from tsplanner.errors import TsplannerError
from tsplanner.tune.study.access import StorageGone, is_transient
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


def test_an_operation_is_repeated_until_the_storage_is_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two attempts fail: both are told to who listens, and a person is told once."""
    access, tried, told = opened(folder).access, [0], [0]
    access.patience = 0.2

    def operation() -> str:
        tried[0] += 1
        if tried[0] < 3:
            raise OSError(5, "Input/output error")
        return "done"

    def outage() -> None:
        told[0] += 1

    access.on_outage = outage
    assert access.locked(operation) == "done"
    assert (tried, told) == ([3], [2])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is away ([Errno 5] Input/output error): trying again" in said


def test_a_mistake_is_no_outage(folder: Path) -> None:
    """An error of the program is raised at once and not repeated."""
    access, tried = opened(folder).access, [0]

    def operation() -> None:
        tried[0] += 1
        raise KeyError("x")

    with pytest.raises(KeyError):
        access.locked(operation)
    assert tried == [1]


def test_a_line_that_is_no_json_ends_in_a_sentence(folder: Path) -> None:
    """The journal was damaged after it was opened; it is left as it is."""
    study = opened(folder)
    journal = folder / "study.journal"
    whole = journal.read_bytes()
    damaged = whole + b'{"op_code": 2, "broken}\n'
    journal.write_bytes(damaged)
    with pytest.raises(TsplannerError, match=r"study\.journal has a line that is not JSON"):
        study.access.set_attribute("key", 1)
    assert journal.read_bytes().startswith(damaged)


def test_a_nested_operation_leaves_the_repetition_to_the_outermost(folder: Path) -> None:
    """The outer one begins anew, since it may have read what is no longer so."""
    access, calls = opened(folder).access, list[str]()
    access.patience = 0.2

    def inner() -> None:
        calls.append("inner")
        if calls.count("inner") < 2:
            raise OSError("away")

    def outer() -> None:
        calls.append("outer")
        access.locked(inner)

    access.locked(outer)
    assert calls == ["outer", "inner", "outer", "inner"]


def test_waiting_ends_when_the_study_is_left(folder: Path) -> None:
    """Ctrl-C need not wait five minutes for a dead disk."""
    access = opened(folder).access
    access.stop.set()

    def operation() -> None:
        raise OSError("away")

    with pytest.raises(StorageGone):
        access.locked(operation)


@pytest.mark.parametrize(
    ("error", "passes"),
    [(OSError("disk"), True), (TimeoutError("lock"), True), (ValueError("x"), False)],
)
def test_errors_of_the_place_may_pass(error: Exception, passes: bool) -> None:
    """A disk comes back, and a value stays wrong."""
    assert is_transient(error) is passes


def test_errors_of_a_database_may_pass() -> None:
    """SQLAlchemy and Optuna wrap what the driver raises."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import OperationalError

    assert is_transient(OperationalError("select 1", None, Exception("gone")))
    assert is_transient(StorageInternalError("gone"))
