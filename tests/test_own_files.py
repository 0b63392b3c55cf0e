"""Nothing of a run is written through a link that somebody left in its folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.own_files import open_descriptor, open_log, refuse_link, refuse_links
from tsplanner.probe.runner import prepare, request_stop
from tsplanner.processes import run_process
from tsplanner.training.job import Job, JobKind
from tsplanner.tune.study.storage import open_storage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links there take rights")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of the user's, outside the run folder."""
    path = tmp_path / "precious"
    path.write_text("mine\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder of a stranger's."""
    path = tmp_path / "run"
    path.mkdir()
    return path


def test_a_line_is_not_appended_through_a_link(folder: Path, precious: Path) -> None:
    """One sentence, and the file outside is as it was."""
    (folder / "metrics.jsonl").symlink_to(precious)
    with pytest.raises(TsplannerError, match=r"metrics\.jsonl is a symbolic link"):
        runs.append_line(folder / "metrics.jsonl", "{}")
    assert precious.read_text() == "mine\n"


def test_a_log_is_not_written_through_a_link(folder: Path, precious: Path) -> None:
    """No process is started, either."""
    (folder / "worker.log").symlink_to(precious)
    command = [sys.executable, "-c", "print('said')"]
    with pytest.raises(TsplannerError, match=r"worker\.log is a symbolic link"):
        run_process(command, log_path=folder / "worker.log", time_limit_seconds=9)
    assert precious.read_text() == "mine\n"


def test_a_whole_file_replaces_a_link(folder: Path, precious: Path) -> None:
    """Also one that stands where the temporary file is written."""
    target = folder / "plan.json"
    target.symlink_to(precious)
    import threading

    own = f".plan.json.{os.getpid()}-{threading.get_native_id()}"
    (folder / own).symlink_to(precious)
    runs.write_text(target, "{}")
    assert not target.is_symlink()
    assert target.read_text() == "{}"
    assert precious.read_text() == "mine\n"


def test_a_stop_is_not_asked_for_through_a_link(folder: Path, tmp_path: Path) -> None:
    """A dangling link would make a file elsewhere."""
    (folder / "stop").symlink_to(tmp_path / "made")
    with pytest.raises(TsplannerError, match="stop is a symbolic link"):
        request_stop(folder)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["study.journal", "study.lock"])
def test_a_study_is_not_kept_through_a_link(name: str, folder: Path, precious: Path) -> None:
    """Neither the journal nor its lock."""
    (folder / name).symlink_to(precious)
    with pytest.raises(TsplannerError, match=f"{name} is a symbolic link"):
        open_storage(folder, None)
    assert precious.read_text() == "mine\n"


def test_logs_are_private_and_other_files_follow_the_umask(folder: Path) -> None:
    """A library may write a token into a log; a plan is shared as the user shares files."""
    code = (
        "import os, sys; from pathlib import Path; os.umask(0o027)\n"
        "from tsplanner import runs; from tsplanner.own_files import open_log\n"
        "folder = Path(sys.argv[1])\n"
        "open_log(folder / 'log').close()\n"
        "runs.append_line(folder / 'lines', 'x'); runs.write_text(folder / 'text', 'x')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"log": 0o600, "lines": 0o640, "text": 0o640}


def test_a_job_does_not_begin_in_a_folder_with_links(folder: Path, precious: Path) -> None:
    """Checkpoints would be written, and old ones deleted, wherever one leads."""
    job = Job(kind=JobKind.TRAIN, plan=tiny.plan(folder.parent / "data"), folder=str(folder))
    (folder / "checkpoints").symlink_to(precious.parent)
    with pytest.raises(TsplannerError, match="checkpoints is a symbolic link"):
        prepare(job)
    assert [path.name for path in folder.iterdir()] == ["checkpoints"]
    (folder / "checkpoints").unlink()
    refuse_links(folder)
    prepare(job)
    assert (folder / "job.json").is_file()


def test_what_is_no_link_is_opened(folder: Path) -> None:
    """And a folder that is missing is made for a log alone."""
    with open_log(folder / "deeper" / "log") as log:
        log.write(b"x")
    os.close(open_descriptor(folder / "new", os.O_WRONLY | os.O_CREAT))
    refuse_link(folder / "new")
    with pytest.raises(FileNotFoundError):
        open_descriptor(folder / "no" / "such", os.O_RDONLY)
