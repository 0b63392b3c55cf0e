"""Where a study is kept: sentences for what cannot be used, and no password anywhere."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import tiny
from tests.support.study_worker import ended, opened
from tests.support.verb import run_folder, tune
from tsplanner.errors import TsplannerError, UsageError, without_passwords
from tsplanner.tune.search.early_stopping import Deficit
from tsplanner.tune.study.access import StorageGone
from tsplanner.tune.study.locks import FileLock
from tsplanner.tune.study.remote import carried_losses, write_carried_losses
from tsplanner.tune.study.storage import check_storage_url, holds_study, open_storage
from tsplanner.tune.study.study import Study
from tsplanner.tune.study.trial_result import TrialState

NOBODY = "postgresql://me:secret@127.0.0.1:1/studies"
"""No server listens on port 1."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder beside the tiny plan's data."""
    return run_folder(tmp_path)


def test_dead_database_is_one_sentence_without_its_password(tmp_path: Path) -> None:
    """Nothing listens there: status 1, no run folder, and the password is nowhere."""
    pytest.importorskip("psycopg")
    done = tune(tmp_path, "--storage", NOBODY, "--run-folder", "run")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "postgresql://me@127.0.0.1:1/studies cannot be used" in done.stderr
    assert "nothing was changed" in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "studies.db", "postgresql://host"])
def test_place_of_another_kind_is_wrong_usage(url: str) -> None:
    """What is accepted is named; a password is not repeated."""
    with pytest.raises(UsageError, match="--storage takes postgresql://user@host/database") as told:
        check_storage_url(url)
    assert "secret" not in str(told.value)


@pytest.mark.slow
def test_missing_driver_names_the_extra(tmp_path: Path) -> None:
    """PostgreSQL's driver is no part of a plain installation."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('no such driver')\n")
    code = (
        "from tsplanner.tune.study.storage import check_storage_url\n"
        f"try: check_storage_url({NOBODY!r})\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    said = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ).stdout
    assert said == (
        "TsplannerError postgresql://me@127.0.0.1:1/studies needs a driver that is not installed: "
        "pip install 'tsplanner[postgres]'.\n"
    )


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:a/b@c@host:5/db", "postgresql://me@host:5/db"),
        ("to postgresql+psycopg://me:x@h/d here", "to postgresql+psycopg://me@h/d here"),
        ("postgresql://h/d?user=me&password=x&a=1", "postgresql://h/d?user=me&password=***&a=1"),
        (
            "postgresql://me@host:5432/db sqlite:///a.db",
            "postgresql://me@host:5432/db sqlite:///a.db",
        ),
    ],
)
def test_passwords_are_left_out_of_texts(text: str, hidden: str) -> None:
    """Wherever a URL may be printed or logged."""
    assert without_passwords(text) == hidden


def test_study_in_a_database_notes_where_and_is_resumed_from_there(folder: Path) -> None:
    """The run folder names the database; a resumed search need not."""
    url = f"sqlite:///{folder.parent / 'studies.db'}"
    study = opened(folder, url)
    proposal = study.ask()
    study.tell(proposal, ended(0, proposal.learning))
    assert json.loads((folder / "study.json").read_text())["storage"] == url
    assert holds_study(folder)
    again = Study(folder, tiny.plan(folder.parent), None)
    assert again.results() == [ended(0, proposal.learning)]
    assert not again.storage.is_shared
    with pytest.raises(TsplannerError, match="keeps its search in sqlite"):
        open_storage(folder, f"sqlite:///{folder.parent / 'other.db'}")


def test_journal_is_not_left_for_a_database(folder: Path) -> None:
    """A search that began in its folder stays there."""
    opened(folder)
    with pytest.raises(TsplannerError, match=r"keeps its search in study\.journal"):
        open_storage(folder, "sqlite:///elsewhere.db")


def test_ranges_of_a_search_stay_whatever_memory_is_free(folder: Path) -> None:
    """A resumed or second worker searches where the first one does."""
    first = opened(folder).encoding
    assert Study(folder, tiny.plan(folder.parent), None).encoding == first


def test_line_that_was_left_half_written_is_dropped(folder: Path) -> None:
    """A kill or a full disk in the middle of a write leaves a study that goes on."""
    study = opened(folder)
    study.workers.want(3)
    with (folder / "study.journal").open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"' + b"x" * 100_000)
    after = opened(folder)
    assert after.claim() is not None
    lines = (folder / "study.journal").read_text().splitlines()
    assert all(json.loads(line) for line in lines)


def test_lock_is_free_as_soon_as_its_holder_is_killed(tmp_path: Path) -> None:
    """No grace period has to pass."""
    code = (
        "import sys; from pathlib import Path; from tsplanner.tune.study.locks import FileLock\n"
        "lock = FileLock(Path(sys.argv[1])); lock.__enter__()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(TimeoutError, match="another process has held"), FileLock(path, 0.1):
        pass
    holder.kill()
    holder.wait()
    with FileLock(path, 1.0) as lock, lock:  # and the same thread may take it again
        pass


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    """A thread may take the lock again that it holds; another one waits until it is free."""
    lock, inside, most = FileLock(tmp_path / "lock"), [0], [0]

    def work() -> None:
        for _ in range(20):
            with lock, lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert most == [1]


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


def test_rows_travel_in_the_database_where_no_folder_is_shared(tmp_path: Path) -> None:
    """Another machine gets the files that trials are compared by; large ones are left out."""
    here, there = tmp_path / "here", tmp_path / "there"
    for number, row in ((0, "[[1.5, 10]]"), (1, "[[1.5, 10]]" * 20_000)):
        (here / str(number)).mkdir(parents=True)
        (here / str(number) / "eval_rows.json").write_text(row)
    trials = [
        SimpleNamespace(number=number, user_attrs=carried_losses(here / str(number)))
        for number in (0, 1)
    ]
    assert trials[1].user_attrs == {"rows": None}
    write_carried_losses(trials, there)
    assert (there / "0" / "eval_rows.json").read_text() == "[[1.5, 10]]"
    assert not (there / "1").exists()


def test_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    """As is one that cannot be written."""
    (tmp_path / "run").write_text("")
    with pytest.raises(TsplannerError, match="is not a writable directory"):
        open_storage(tmp_path / "run")


def test_full_disk_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal cannot grow: what to do is said, and no traceback."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TsplannerError, match="is full: free some space"):
        opened(folder)


def test_study_of_an_earlier_version_is_refused_and_left_as_it_is(folder: Path) -> None:
    """Its held-out rows were drawn otherwise, so its trials cannot be compared."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(path)))
    earlier = optuna.create_study(study_name="tsplanner", storage=storage)
    earlier.set_user_attr("subject", {"model": "tiny", "seed": "42"})
    earlier.enqueue_trial({"learning_rate": 1e-3, "num_train_epochs": 3, "lora_rank": 8})
    before = path.read_bytes()
    with pytest.raises(TsplannerError, match="another version of tsplanner"):
        opened(folder)
    assert path.read_bytes() == before


def test_other_held_out_rows_are_another_search(folder: Path) -> None:
    """Trials judged on other rows cannot be compared; the sentence says which seed changed."""
    opened(folder)
    plan = tiny.with_learning(tiny.plan(folder.parent), split_seed=7)
    with pytest.raises(TsplannerError, match=r"another split seed \(42, now 7\)"):
        Study(folder, plan, None)


def test_journal_of_the_version_before_goes_on(folder: Path) -> None:
    """Its words for how trials ended are read by one table, and its number of trials is kept."""
    study = opened(folder)
    told = (
        {"state": "done", "eval_loss": 1.5, "ends as": "COMPLETE"},
        {"state": "stopped", "eval_loss": 1.9, "behind": [0, 0.4, 0.1], "ends as": "PRUNED"},
        {"state": "failed", "eval_loss": None, "ends as": "PRUNED"},
        {"state": "failed", "eval_loss": None, "ends as": "FAIL"},
        {"state": "not started", "eval_loss": None, "ends as": "PRUNED"},
    )
    for outcome in told:
        study.queue.finish(study.ask().handle, {"message": "", "behind": None, **outcome})
    after = opened(folder)
    results = after.results()
    assert [one.state for one in results] == [
        TrialState.COMPLETED,
        TrialState.PRUNED,
        TrialState.FAILED,
        TrialState.FAILED,
        TrialState.REJECTED,
    ]
    assert [one.diverged for one in results] == [False, False, True, False, False]
    assert results[1].deficit == Deficit(rival=0, difference=0.4, error=0.1)
    after.workers.want(1)
    assert after.workers.wanted == 5
    assert after.claim() is not None
    assert after.claim() is None


def test_encoding_of_the_version_before_is_read(folder: Path) -> None:
    """It called the baseline by another name."""
    study = opened(folder)
    stored = dict(study.access.study.user_attrs["places"])
    stored["default"] = stored.pop("baseline")
    study.access.study.set_user_attr("places", stored)
    assert Study(folder, tiny.plan(folder.parent), None).encoding == study.encoding
