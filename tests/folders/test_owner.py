"""One process at a time writes into a run folder, and the others learn by name which one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import pytest

from tsplanner.errors import TsplannerError
from tsplanner.folders import owner
from tsplanner.folders.leftovers import temporary_name
from tsplanner.folders.owner import (
    OWNER_FILE,
    Owner,
    RunFolder,
    leader_of,
    may_be_led,
    read_owner,
    refuse_foreign,
    refuse_led,
)
from tsplanner.identity import node_name, this_process

LEADS = """
import pathlib, sys, time
from tsplanner.folders.owner import RunFolder
with RunFolder(pathlib.Path(sys.argv[1]), "train") as claimed:
    print("leads", flush=True)
    time.sleep(60)
"""


def leader(folder: Path) -> subprocess.Popen[str]:
    """A process that leads a folder."""
    child = subprocess.Popen(
        [sys.executable, "-c", LEADS, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "leads\n"
    return child


def test_a_second_process_is_refused_by_the_name_of_the_first(tmp_path: Path) -> None:
    """Verb, number, host and time stand in the sentence; nothing in the folder changes."""
    child = leader(tmp_path)
    try:
        before = (tmp_path / OWNER_FILE).read_bytes()
        words = (
            f"{tmp_path} is being written by tsplanner train, process {child.pid} on host "
            f"{node_name()}, since "
        )
        for claim in (lambda: RunFolder(tmp_path, "tune"), lambda: refuse_led(tmp_path)):
            with pytest.raises(TsplannerError, match=re.escape(words) + r"\d\d:\d\d: wait"):
                claim()
        assert (tmp_path / OWNER_FILE).read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == [OWNER_FILE]
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_lock_goes_with_its_process_and_not_before(tmp_path: Path, number: int) -> None:
    """A killed leader leaves the folder free at once; a stopped one keeps it."""
    child = leader(tmp_path)
    try:
        child.send_signal(number)
        if number == signal.SIGSTOP:
            with pytest.raises(TsplannerError, match="is being written by"):
                RunFolder(tmp_path, "tune")
        else:
            child.wait()
            assert leader_of(tmp_path) is None
            with RunFolder(tmp_path, "tune") as claimed:
                assert claimed.owner.process == this_process()
    finally:
        child.kill()
        child.communicate()


def test_a_tune_says_how_to_help_it(tmp_path: Path) -> None:
    """A search may have helpers; a training has none."""
    with (
        RunFolder(tmp_path / "run", "tune"),
        pytest.raises(TsplannerError, match=r"help it with  tsplanner tune --join .*run\."),
    ):
        RunFolder(tmp_path / "run", "train")


def test_leaving_frees_the_folder_and_keeps_the_name(tmp_path: Path) -> None:
    """Who wrote there last stays readable."""
    with RunFolder(tmp_path / "a" / "run", "train") as claimed:
        assert [path.name for path in claimed.made] == ["a", "run"]
    found = read_owner(tmp_path / "a" / "run")
    assert found is not None
    assert (found.verb, found.left) == ("train", True)
    with RunFolder(tmp_path / "a" / "run", "tune") as again:
        assert again.made == []
        assert again.before == {OWNER_FILE}


def test_a_refused_claim_leaves_nothing(tmp_path: Path) -> None:
    """Neither in a folder that is no folder, nor over a file that is not ours."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TsplannerError, match="is not a writable directory"):
        RunFolder(tmp_path / "file", "train")
    (tmp_path / OWNER_FILE).write_text("mine")
    with pytest.raises(TsplannerError, match=r"owner\.json is not of tsplanner"):
        RunFolder(tmp_path, "train")
    assert (tmp_path / OWNER_FILE).read_text() == "mine"
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / OWNER_FILE).symlink_to(tmp_path / "file")
    with pytest.raises(TsplannerError, match="linked is not a writable directory"):
        RunFolder(linked, "train")
    assert (tmp_path / "file").read_text() == "mine"


def far_owner(folder: Path, **changes: object) -> Owner:
    """An owner on another host."""
    found = Owner(
        verb="train", process=replace(this_process(), host="elsewhere", node="far"), since=0.0
    )
    found = replace(found, **changes)  # type: ignore[arg-type]
    (folder / OWNER_FILE).write_bytes(msgspec.json.encode(asdict(found)))
    return found


def test_an_owner_on_another_host_lives_while_its_heartbeat_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two looks with a heartbeat between them: it lives; none for the limit: it is gone."""
    far_owner(tmp_path)
    counts = iter((1, 2))
    monkeypatch.setattr(time, "sleep", lambda _: far_owner(tmp_path, heartbeat=next(counts)))
    assert leader_of(tmp_path) is not None
    with pytest.raises(TsplannerError, match=r"process .* on host far, since 1970-01-01"):
        refuse_led(tmp_path)
    monkeypatch.setattr(owner, "GONE_SECONDS", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert leader_of(tmp_path) is None
    assert may_be_led(tmp_path)
    far_owner(tmp_path, left=True)
    assert leader_of(tmp_path) is None
    assert not may_be_led(tmp_path)


def test_a_folder_of_a_persons_own_is_told_from_a_run(tmp_path: Path) -> None:
    """The same file beside an owner is ours."""
    (tmp_path / "adapter").mkdir()
    with pytest.raises(TsplannerError, match="holds adapter, which this run would write over"):
        refuse_foreign(tmp_path, ("plan.json", "adapter"))
    far_owner(tmp_path)
    refuse_foreign(tmp_path, ("plan.json", "adapter"))


def test_a_folder_that_was_made_just_before_goes_with_a_refusal(tmp_path: Path) -> None:
    """A numbered folder is made first and claimed then."""
    for is_new in (True, False):
        (tmp_path / "20261129-1").mkdir(exist_ok=True)
        with RunFolder(tmp_path / "20261129-1", "tune", is_new=is_new) as claimed:
            claimed.undo(())
        assert (tmp_path / "20261129-1").exists() is not is_new


def test_leaving_clears_up_behind_processes_that_were_killed(tmp_path: Path) -> None:
    """When the folder is claimed and again at the end; process 5,000,000 cannot be."""
    left = tmp_path / "trials" / "1" / f".pulse{temporary_name(Path('x')).name[2:]}"
    left = left.with_name(re.sub(r"\.\d+-\d+\.", ".5000000-1.", left.name))
    with RunFolder(tmp_path, "tune"):
        left.parent.mkdir(parents=True)
        left.write_text("")
    assert not left.exists()
