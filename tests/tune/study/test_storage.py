"""Where a study is kept: sentences for what cannot be used, and no password anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.study_worker import ended, opened
from tests.support.verb import tune
from tsplanner.errors import TsplannerError, UsageError, without_passwords
from tsplanner.install import Extra, install_command
from tsplanner.tune.study.storage import check_storage_url, holds_study, open_storage
from tsplanner.tune.study.study import Study

NOBODY = "postgresql://me:secret@127.0.0.1:1/studies"
"""No server listens on port 1."""


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
        f"{install_command(Extra.POSTGRES)}.\n"
    )


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


def test_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    """As is one that cannot be written."""
    (tmp_path / "run").write_text("")
    with pytest.raises(TsplannerError, match="is not a writable directory"):
        open_storage(tmp_path / "run")


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
