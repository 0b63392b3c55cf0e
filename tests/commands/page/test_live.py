"""The page that follows a run: the server as a person starts it, on a folder that grows."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.report.records.test_progress import begin, say
from tests.support.hand_made import RECORD, add_run
from tests.support.planning import environment
from tests.support.verb import command, planned, wait_for
from tsplanner.commands.page.live import IDLE_SHARE, LivePage, looked_at
from tsplanner.commands.serve import run as serve
from tsplanner.errors import TsplannerError
from tsplanner.folders.owner import RunFolder


@contextlib.contextmanager
def serving(folder: Path, cwd: Path) -> Iterator[str]:
    """The address of ``tsplanner serve FOLDER``, which ends without a word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tsplanner", "serve", str(folder), "--json", "--port", "0"],
        cwd=cwd,
        env=environment(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["address"]
    finally:
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (0, "", "")


def shown(address: str) -> str:
    """The page."""
    with urllib.request.urlopen(address, timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def until(address: str, words: str) -> str:
    """The page once it says something."""
    deadline = time.monotonic() + 20
    while words not in (text := shown(address)):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return text


def everything(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_followed_from_before_its_start_to_its_end(tmp_path: Path) -> None:
    """In either language, with nothing written there by the server."""
    run = tmp_path / "saves" / "tiny" / "lora" / "mine"
    run.parent.mkdir(parents=True)
    with serving(run, tmp_path) as address, serving(tmp_path / "saves", tmp_path) as of_all:
        assert "nothing has begun here yet" in shown(address)
        assert "is at work" in shown(of_all)
        with RunFolder(run, "train", saves=tmp_path / "saves"):
            begin(tmp_path, run)
            until(address, "At work: tsplanner train")
            for step in (1, 2):
                say(run, step=step, epoch=step / 5, loss=2.5 - step / 2, seconds=2.0 * step)
            with (run / "metrics.jsonl").open("a") as file:
                file.write('{"step": 3, "lo')
            before = everything(run)
            text = until(address, "2 of 10")
            assert "1.5000" in text
            assert 'id="curves"' in text
            assert 'id="results"' not in text
            assert "At work: tsplanner train" in until(of_all, "tiny/lora/mine")
            assert "正在进行" in shown(address + "&language=zh-CN")
            assert before.keys() == everything(run).keys()
        until(address, "it was interrupted or killed")
        (run / "record.json").write_bytes(msgspec.json.encode(RECORD))
        assert 'id="results"' in until(address, "mine is over: 10 steps in 2 min.")


def test_only_its_own_page_is_answered_and_only_to_its_owner(tmp_path: Path) -> None:
    """No file of the folder, no other site, nobody without the token, no question."""
    add_run(tmp_path, "a")
    with serving(tmp_path / "tiny" / "lora" / "a", tmp_path) as address:
        place = urlsplit(address)
        assert place.hostname == "127.0.0.1"

        def status(method: str, path: str, **headers: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", place.port or 0, timeout=20)
            connection.request(method, path, headers=headers)
            found = connection.getresponse().status
            connection.close()
            return found

        asked = f"/?{place.query}"
        assert status("GET", asked) == 200
        assert status("GET", asked, Host="evil.example") == 403
        assert status("GET", asked, Origin="http://evil.example") == 403
        assert status("GET", "/") == status("GET", "/?token=x") == 403
        for path in ("/../a/plan.json", "/plan.json", "/%2e%2e/etc/passwd", "//etc/passwd"):
            assert status("GET", f"{path}?{place.query}") == 404
        token = place.query.removeprefix("token=")
        assert status("POST", "/api/plan", Authorization=f"Bearer {token}") == 404


def test_names_in_a_folder_stay_text(tmp_path: Path) -> None:
    """A folder or a message that would be markup is shown as it is."""
    run = tmp_path / "<img src=x onerror=alert(1)>"
    begin(tmp_path, run)
    text = LivePage(run)({"token": '"><script>'})
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert '"><script>' not in text


def test_looks_take_a_tenth_of_the_time_at_most(tmp_path: Path) -> None:
    """A look that took 2 s is shown for another 18."""
    times = iter([0.0, 2.0, 19.9, 20.0, 20.1])
    page = LivePage(tmp_path, clock=lambda: next(times))
    begun = []
    for _ in range(3):
        begun.append(page._look())
    assert begun[0] is begun[1]
    assert begun[2] is not begun[0]
    assert IDLE_SHARE == 9


def test_many_runs_are_looked_at_less_often_when_none_works(tmp_path: Path) -> None:
    """Every two seconds while one does, else every ten."""
    add_run(tmp_path, "over")
    assert looked_at(tmp_path).seconds == 10.0
    with RunFolder(tmp_path / "tiny" / "lora" / "b", "train", saves=tmp_path):
        assert looked_at(tmp_path).seconds == 2.0


def test_a_path_that_no_run_can_come_to_is_a_sentence(tmp_path: Path) -> None:
    """A file, or a folder in one that is not there."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "no" / "such"):
        with pytest.raises(TsplannerError, match="is no folder: name a run folder"):
            serve(number=0, opens=False, as_json=True, folder=path)


@pytest.mark.slow
def test_a_real_search_is_followed_to_the_end_of_its_full_run(tmp_path: Path) -> None:
    """Trials first, then the steps, then the report."""
    plan = planned(tmp_path, num_train_epochs=4)
    line, variables = command(tmp_path, "tune", "--plan", str(plan), "--trials", "2")
    with subprocess.Popen(
        line, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as search:
        wait_for(tmp_path, "owner.json")
        run = next((tmp_path / "saves").glob("*/*/*/owner.json")).parent
        with serving(run, tmp_path) as address:
            said: dict[str, bool] = {}
            while search.poll() is None:
                text = shown(address)
                for words in ("At work: tsplanner tune", "Trial 0: rank", 'id="search"'):
                    said[words] = said.get(words, False) or words in text
                time.sleep(0.1)
            assert search.returncode == 0
            assert said == dict.fromkeys(said, True)
            text = until(address, "is over: ")
            assert 'id="search"' in text
            assert 'id="headline"' in text
